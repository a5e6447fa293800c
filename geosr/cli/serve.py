"""`geosr serve`: a page on this machine to look at a scene and what models make of it."""

from __future__ import annotations

import signal
import webbrowser
from contextlib import closing
from pathlib import Path

import click

from geosr.cli.streams import announce, leave_tiles_behind
from geosr.cli.talk import tell
from geosr.cli.upscale import model_option
from geosr.cli.values import Whole, refuse


@click.command("serve", short_help="Look at a scene and its result in a browser.")
@click.argument("scene", type=click.Path())
@click.option("--lr", type=click.Path(), help="The scene that SCENE, a finished result, was made of.")
@model_option
@click.option("--scale", type=Whole(2, 8), default=4, show_default=True, help="Output pixels per pixel.")
@click.option("--port", type=Whole(0, 65535), default=0, help="[default: a free one]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another one lets other machines in.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def command(scene: str, lr: str | None, model: str, scale: int, port: int, host: str, opens: bool) -> int:
    """A page that shows SCENE in its own grid beside what a model makes of it, tile by tile as they come into view.

    Tiles are computed as `geosr upscale` does it. Parts can be exported into the folder that this was started in. The
    address has a token, without which nothing is answered. Ctrl-C ends it.
    """
    from geosr.errors import InputError
    from geosr.io.companions import tags_of_file
    from geosr.models.threads import prepare_process
    from geosr.viewer.ground import FileGround
    from geosr.viewer.server import ViewServer

    if lr is not None:
        refuse(["scale"], f"that of {scene}, which tells it itself; leave it out")
    ground = FileGround(scene if lr is None else lr, model=model, scale=scale, result=None if lr is None else scene)
    try:
        server = ViewServer(ground, host, port, Path.cwd())
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port} can't be served: {why}; choose another --host or --port") from error
    with prepare_process(), closing(server):
        for line in ground.scene.warnings:
            tell(line)
        if lr is None and "GEOSR_MODEL" in tags_of_file(Path(scene)):
            tell(f"{scene} is a result of geosr's; name the scene that it was made of with --lr to see both")
        if not server.local:
            tell(f"other machines can reach {host}: who has the address with its token sees the scene")
        server.viewed.warm()
        announce(server.url)
        if opens:
            webbrowser.open(server.url)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            if server.exports.running:
                raise KeyboardInterrupt(f"{server.exports.state['path']} is not whole; its command goes on") from None
    leave_tiles_behind(0)
    return 0
