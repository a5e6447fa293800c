"""The figures by name: what each is, in which unit, and what is good."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a figure, for tables."""

    about: str
    good: str
    """What is good, in words."""
    worst: str = "mean"
    """What stands for all bands: their mean, the rms of them, or the one farthest from 0 ("most")."""


MEANINGS = {
    "round_trip": Meaning("degraded as the sensor does it, result less input: mean size", "the input's noise, or less"),
    "round_trip_p99": Meaning("the size that 99 % of those differences don't exceed", "3 times the noise"),
    "round_trip_bias": Meaning("their mean: above 0 where the result is too bright", "near 0", "most"),
    "spectral_angle": Meaning("angle between spectra of the degraded result and the input, degrees", "under 1"),
    "d_lambda": Meaning("Khan's spectral distortion: 1 - Q2n of the degraded result and the input", "under .05"),
    "shift": Meaning("how far the result lies off the input, input pixels", "under .05", "most"),
    "shift_down": Meaning("of it down, all bands together", "near 0"),
    "shift_right": Meaning("of it right, all bands together", "near 0"),
    "seam": Meaning("steps across the worst row or column over those beside it; 1 where none stands out", "1", "most"),
    "lattice": Meaning("power of waves that the input's pixels repeat in, over their neighbours'", "under 1.2", "most"),
    "ringing": Meaning("at edges: overshoot of the neighbourhood's range, as a share of it", "under .05", "most"),
    "saturation": Meaning("share of pixels at the least and largest number, beyond the input's", "0", "most"),
    "beyond_nyquist": Meaning("share of the variance finer than the input's Nyquist frequency", "that of the ground"),
    "mask_lost": Meaning("share of data that the result has none of", "0"),
    "mask_invented": Meaning("share of the result's data where the input has none", "0"),
    "d_rho": Meaning("1 - local correlation with the guide", "as low as the reference's"),
    "qnr": Meaning("(1 - d_lambda) (1 - d_rho)", "near 1"),
    "rmse": Meaning("root mean square error, in the unit of values", "under bicubic's", "rms"),
    "bias": Meaning("mean error", "near 0", "most"),
    "psnr": Meaning("peak signal-to-noise ratio, dB; the peak is the reference's range", "over bicubic's"),
    "correlation": Meaning("with the reference", "near 1"),
    "ssim": Meaning("structural similarity, Gaussian window", "near 1"),
    "uqi": Meaning("universal quality index, the same window", "near 1"),
    "sam": Meaning("spectral angle to the reference, degrees", "under bicubic's"),
    "ergas": Meaning("relative error of all bands, by the ratio of pixels", "under bicubic's"),
    "q2n": Meaning("likeness of spectra and structure in blocks of 32 pixels", "near 1"),
    "classes": Meaning("share of pixels that k-means puts in the class that the reference is in", "over bicubic's"),
    "ndvi_error": Meaning("root mean square error of NDVI", "under bicubic's"),
    "ndwi_error": Meaning("of NDWI (green, near infrared)", "under bicubic's"),
    "nbr_error": Meaning("of the normalised burn ratio", "under bicubic's"),
    "detail": Meaning("power beyond the input's Nyquist frequency over the reference's", "up to 1"),
    "detail_correlation": Meaning("correlation of that detail with the reference's: how much of it is true", "over .5"),
    "reflectance": Meaning("opensr-test: input less the result reduced by a triangle, mean size", "near 0"),
    "spectral": Meaning("opensr-test: spectral angle of the same, degrees", "near 0"),
    "spatial": Meaning("opensr-test: shift of the same, input pixels", "near 0"),
    "synthesis": Meaning("opensr-test: mean size of what was added to bilinear interpolation", "that of the ground"),
    "hallucination": Meaning("opensr-test: share of what was added that is not there", "low"),
    "omission": Meaning("opensr-test: share of what is there that was not added", "low"),
    "improvement": Meaning("opensr-test: share of what was added that is there", "high"),
}
"""In the order of tables. Those from `rmse` on need a reference, `d_rho` and `qnr` a guide."""

OF_MODELS = {
    "gain": Meaning("over bicubic, dB of squared error, on natural and real pairs", "above 0"),
    "detail_energy": Meaning("standard deviation of the result's detail over the finer band's", "about .9"),
    "gain_mean": Meaning("least mean gain over an opponent, dB", "above 0"),
    "gain_low": Meaning("least lower end of an interval of it", "above 0"),
}
"""Those of models, beside the others."""
