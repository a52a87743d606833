// What menus need on every page, and Streamlit does not give by itself: the keyboard goes into a menu that opens
// and on from its button behind its last control; a press beside closes it.

const BODY = "[data-testid=stPopoverBody]";
// Not a code, unless it is alone: it may be drawn before what stands above it.
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
  const code = isDrawn() ? menu.querySelector(CODE) : null;
  const control = byKey ? menu.querySelector(CONTROL) : menu;
  const first = control ?? code;
  const inside = menu.contains(document.activeElement) && document.activeElement !== code;
  if (control || inside) entered = menu;
  if (first === null || first === document.activeElement || inside) return;
  menu.tabIndex = -1;
  first.focus({ preventScroll: true });
};

// A place that takes the focus and has a name is something: Streamlit calls the one for files a decoration.
const mend = () => document.querySelector("[data-testid=stFileUploaderDropzone][role=presentation]")
  ?.setAttribute("role", "group");

// Streamlit gathers what the server is told until a timer that is due at once. While a page is busy the next
// press comes before it: what both change is told as one, and where they are of two fragments, only that of
// the first is run. So the timer does not wait.
const withoutWaiting = (act) => {
  const own = window.setTimeout;
  const due = [];
  window.setTimeout = (later, wait, ...given) => wait ? own(later, wait, ...given) : due.push(later);
  try { act(); } finally { window.setTimeout = own; }
  for (const later of due) later();
};

// Streamlit's own way to close a menu. It gives the focus to the menu's button, which must not scroll the page.
const close = () => {
  const main = document.querySelector("[data-testid=stMain]");
  const top = main.scrollTop;
  const escape = new KeyboardEvent("keydown", { key: "Escape", bubbles: true, cancelable: true });
  withoutWaiting(() => document.dispatchEvent(escape));
  main.scrollTop = top;
};

// Streamlit closes a menu with the click that presses something else, and tells both as one. So the menu is
// closed at the beginning of the press.
const OF_MENU = "[data-st-overlay-root=true], [data-testid=stPopoverButton][aria-expanded=true]";
const press = (event) => {
  byKey = false;
  const target = event.target instanceof Element ? event.target : null;
  if (document.querySelector(BODY) && !target?.closest(OF_MENU)) close();
};

// Menus stand at the end of the document: Tab would go there from the last control, and not to what follows
// the menu's button. Escape closes a list in a menu before the menu.
const key = (event) => {
  if (!event.isTrusted) return;
  byKey = true;
  const menu = document.querySelector(BODY);
  const inside = menu?.contains(document.activeElement);
  if (menu && event.key === "Escape" && !(inside && document.activeElement.ariaExpanded === "true")) {
    event.stopImmediatePropagation();
    event.preventDefault();
    close();
  }
  if (event.key !== "Tab" || !inside) return;
  const stops = [...menu.querySelectorAll("a[href], button, input, textarea, [tabindex='0']")]
    .filter((each) => each.tabIndex === 0 && !each.disabled && each.checkVisibility());
  const at = stops.indexOf(document.activeElement);
  if (event.shiftKey ? at > 0 : at < stops.length - 1) return;
  close();
  if (event.shiftKey) event.preventDefault(); // the button is what stands before the menu
};

window.whenChanged(enter);
window.whenChanged(mend);
window.addEventListener("pointerdown", press, true);
window.addEventListener("keydown", key, true);
