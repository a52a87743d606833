// What hands without a mouse need of every page, and Streamlit does not give by itself: the keyboard goes into a
// menu that opens. Runs in the page's head.
{
  const BODY = "[data-testid=stPopoverBody]";
  // Not a code, unless it is alone: it may be drawn before what stands above it. The code's own button is hidden
  // until the code has the focus.
  const CONTROL = ":is(a[href], button, input, textarea)"
    + ":not(:disabled, [tabindex='-1'], [data-testid=stCode] *)";
  const CODE = "[data-testid=stCode][tabindex]";

  let entered = null;  // the menu that has had the focus
  let byKey = false;  // whether it was opened from the keyboard

  const isDrawn = () => document.querySelector("[data-test-script-state=notRunning]") !== null;

  // What a menu holds is drawn after it: the focus waits for its first control. A pointer's menu takes the
  // focus itself: a box that took it would bring up the keyboard of a phone.
  const enter = () => {
    const menu = document.querySelector(BODY);
    if (menu === entered) return;
    if (menu === null) { entered = null; return; }
    const first = byKey ? menu.querySelector(CONTROL) ?? (isDrawn() ? menu.querySelector(CODE) : null) : menu;
    if (first === null) return;
    entered = menu;
    menu.tabIndex = -1;
    first.focus({ preventScroll: true });
  };

  // A place that takes the focus and has a name is something: Streamlit calls the one for files a decoration.
  const mend = () => document.querySelector("[data-testid=stFileUploaderDropzone][role=presentation]")
    ?.setAttribute("role", "group");

  new MutationObserver(() => { enter(); mend(); }).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["data-test-script-state"],
  });
  window.addEventListener("pointerdown", () => { byKey = false; }, true);
  window.addEventListener("keydown", () => { byKey = true; }, true);
}
