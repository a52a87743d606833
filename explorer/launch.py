"""The command `mamba2-explorer`: the app of the installed package, from any folder.

Further arguments go to Streamlit, as in `mamba2-explorer --server.port 8600`. Theme and server defaults
come from `.streamlit/config.toml` beside the app, which Streamlit reads with it. `mamba2-explorer snapshot`
writes a page instead and serves nothing; `mamba2-explorer --class` opens the app to the local network.
"""

import os
import sys
from pathlib import Path

from streamlit.web import cli

APP = Path(__file__).with_name("app.py")


def main() -> None:
    """Serve the app until interrupted, or write a snapshot."""
    from explorer.settings import Settings

    options = sys.argv[1:]
    if for_class := "--class" in options:
        os.environ["EXPLORER_HOSTED"] = "1"  # everyone in the network is a stranger
    try:
        limits = Settings.from_environment()  # the app reads them when Streamlit has added its secrets
    except ValueError as error:
        sys.exit(f"mamba2-explorer: {error}")
    if options[:1] == ["snapshot"]:
        from explorer import snapshot_command

        snapshot_command.run(options[1:])
        return
    if for_class:
        from explorer import class_command

        options = class_command.options_for_class(options, limits)
    # Streamlit would ask a newcomer for an e-mail address before it starts.
    cli.main_run.main([str(APP), "--server.showEmailPrompt=false", *options], prog_name="mamba2-explorer")
