"""Ten lines in xarray: a scene, a field of it upscaled, seen beside what it was, and kept."""

import geosr

scene = geosr.open_raster("examples/scene.tif")  # lazy
fine = scene.geosr.upscale("fast", scale=2)  # lazy, too
field = {"x": slice(*scene.x.values[[100, 163]]), "y": slice(*scene.y.values[[100, 163]])}
before, after = scene.sel(field), fine.sel(field).load()  # computes the tiles that the field lies on
print(before.mean(("y", "x")).values, after.mean(("y", "x")).values)
before.geosr.compare(after).savefig("compare.png")
after.geosr.to_geotiff("field.tif", overwrite=True)
