"""The server: `streamlit run explorer/app.py`, from this folder or any other.

The first picture needs PyTorch, a model class of transformers and the embedded model. Their imports
start here, with the server, and run while the browser is still fetching the page.
"""

import gc
import sys
import threading
from contextlib import suppress
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.secrets import secrets_singleton

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))  # so that `components` is found where nothing is installed

from explorer.guard import Guard  # noqa: E402
from explorer.heaps import share_heaps  # noqa: E402
from explorer.shell import pages  # noqa: E402
from explorer.wire import PagesOnly  # noqa: E402


def prepare_first_picture() -> None:
    """Compute the capture that new sessions show. On failure, the page retries and reports it."""
    from components.demo import PRESETS
    from components.models import DEMO, ModelLoadError
    from explorer.captures import capture
    from explorer.subject import Subject

    with suppress(ModelLoadError):
        capture(Subject(DEMO, PRESETS[0].prompt))
    # The imports have created hundreds of thousands of permanent objects. To search them for garbage takes
    # longer than a run of the page.
    gc.freeze()


share_heaps()  # before there are many threads

# Streamlit makes environment variables of the secrets in its files; Community Cloud has no others. It is done
# here, before the thread below reads our settings.
secrets_singleton.load_if_toml_exists()

threading.Thread(target=prepare_first_picture, name="first picture", daemon=True).start()

app = st.App(FOLDER / "main.py", routes=pages(), middleware=[Middleware(Guard), Middleware(PagesOnly)])
