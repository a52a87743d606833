"""What hands without a mouse and weak eyes need of every page, and Streamlit does not give by itself.

The keyboard goes into a menu that opens and comes back to its button; what has the focus shows it; faint
text is as dark as its background asks for.
"""

from __future__ import annotations

import streamlit as st

_mount = st.components.v2.component(
    "accessible",
    isolate_styles=False,
    css="""
/* An outline in the colour of the text is seen on either theme, whatever it surrounds. */
:is(a, button, summary, [role="slider"], [role="button"], [tabindex="0"]):not(input):focus-visible,
label:has(:is([type="checkbox"], [type="radio"], [type="range"]):focus-visible) {
  outline: 2px solid currentColor !important;
  outline-offset: 2px;
}
/* Captions are 60 % of the text's colour: 4.2 : 1 on the light page. */
[data-testid="stCaptionContainer"] { opacity: 0.8; }
/* Slanted letters stand out of a formula by a hair, which would make it scroll. */
.katex-display { padding-inline: 3px; }
/* A mark that draws nothing has nothing to say. */
g[role="graphics-symbol"]:empty { display: none; }
""",
    js="""
const BODY = "[data-testid=stPopoverBody]";
// Not the button that copies a code, unless it is alone: the code may be drawn before what stands above it.
const CONTROL = ":is(a[href], button, input, textarea)"
  + ":not(:disabled, [tabindex='-1'], [data-testid=stCode] *)";
const COPY = "[data-testid=stCode] button";

let entered = null;  // the menu that has had the focus
let byKey = false;  // whether it was opened from the keyboard

const isDrawn = () => document.querySelector("[data-test-script-state=notRunning]") !== null;

// What a menu holds is drawn after it: the focus waits for its first control. A pointer's menu takes the
// focus itself: a box that took it would bring up the keyboard of a phone.
const enter = () => {
  const menu = document.querySelector(BODY);
  if (menu === entered) return;
  if (menu === null) { entered = null; return; }
  const first = byKey ? menu.querySelector(CONTROL) ?? (isDrawn() ? menu.querySelector(COPY) : null) : menu;
  if (first === null) return;
  entered = menu;
  menu.tabIndex = -1;
  first.focus({ preventScroll: true });
};

// A place that takes the focus and has a name is something: Streamlit calls the one for files a decoration.
const mend = () => document.querySelector("[data-testid=stFileUploaderDropzone][role=presentation]")
  ?.setAttribute("role", "group");

export default function () {
  if (window.accessible) return;  // one for the page, whatever is mounted again
  window.accessible = true;
  new MutationObserver(() => { enter(); mend(); }).observe(document.body, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-test-script-state"],
  });
  window.addEventListener("pointerdown", () => { byKey = false; }, true);
  window.addEventListener("keydown", () => { byKey = true; }, true);
}
""",
)


def accessible() -> None:
    """Mount it; once, before the page."""
    _mount(key="accessible")
