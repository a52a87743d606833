"""Cost of a long text in the explorer, against the page's estimate before the run.

    python -m benchmarks.long_text

The embedded model, each length in a process of its own: the run itself, then drawing one head over the whole
text and in a window, and the faithfulness of the layer. Memory is the peak above the loaded model.
"""

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.measure import print_table
from benchmarks.page import text_of_tokens
from benchmarks.pooled_attention import peak_of

LENGTHS = (4_096, 16_384, 65_536, 131_072)
LAYER, HEAD = 2, 2


def measure(tokens: int) -> dict[str, float]:
    """Seconds and gigabytes at one length."""
    logging.disable()  # Streamlit warns that no server runs
    from components.charts import Window, head_cells, panels_chart
    from components.ssd import Place
    from explorer import captures, models, pictures
    from explorer.captures import terms_of
    from explorer.subject import Subject

    subject = Subject("demo", text_of_tokens(tokens))
    models.bridge("demo")
    cost = captures.cost(subject)
    found: dict[str, float] = {"tokens": cost.tokens, "said s": cost.seconds or 0, "said GB": cost.gigabytes}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        found[name] = time.perf_counter() - began

    def drawn(window: Window) -> None:
        capture = captures.capture(subject)
        panels_chart(head_cells(terms_of(capture, Place(LAYER)), HEAD, capture.tokens, window))

    found["GB"] = peak_of(lambda: timed("run s", lambda: captures.capture(subject))) / 1e3
    drawn(Window.whole(64))  # Altair builds the specification once
    timed("whole s", lambda: drawn(Window.whole(tokens)))
    middle = range(tokens // 2, tokens // 2 + 1024)
    timed("window s", lambda: drawn(Window(middle, middle)))
    found["faithfulness GB"] = (
        peak_of(
            lambda: timed("faithfulness s", lambda: pictures.faithfulness(captures.capture(subject), LAYER))
        )
        / 1e3
    )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        print(json.dumps(measure(one)))
        return
    rows = []
    for length in LENGTHS:
        command = [sys.executable, "-m", "benchmarks.long_text", "--one", str(length)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    names = list(rows[0])
    print_table(
        names,
        [[f"{row[name]:,}" if name == "tokens" else f"{row[name]:.3g}" for name in names] for row in rows],
    )


if __name__ == "__main__":
    main()
