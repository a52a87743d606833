// What the hand does on the charts and Vega alone would not hear: a drag that ends outside, a pointer that
// rests or is left behind, fingers, keys. Vega gets it as events of a pointer inside its canvas.
//
// Events made here are not trusted ones, and everything here listens to trusted ones only.

// The keys of charts are head_map and panels, with the name of their view before: see explorer/viewer.py.
const CANVAS = '[class*="-panels"] canvas';
const FOCUS = "[role=graphics-document]"; // the element that has a chart's words

const REST = 80; // milliseconds after which a pointer rests
const LONG = 400; // milliseconds after which a press is a long one
const MOVED = 4; // pixels from which on a press is a brush, as in components/charts/panels/pointer.py
const SLIP = 10; // pixels that a finger moves without meaning it
const BESIDE = [0, 24, 48, 72, 96, 120, 144]; // pixels that labels beside and below the panels may take

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const canvasOf = (event) => (event.target instanceof Element ? event.target.closest(CANVAS) : null);
const placeOf = (event) => ({ x: event.clientX, y: event.clientY });
const apart = (one, other) => Math.max(Math.abs(one.x - other.x), Math.abs(one.y - other.y));
const swallow = (event) => event.stopImmediatePropagation();

const send = (target, type, place, id, buttons = 0) =>
  target.dispatchEvent(new PointerEvent(type, {
    bubbles: true, cancelable: true, composed: true, isPrimary: true, pointerType: "mouse", pointerId: id,
    clientX: place.x, clientY: place.y, buttons, button: type === "pointermove" ? -1 : 0,
  }));

// Where a place is in the canvas, or the nearest inside its edge; `beside` pixels further from the labels.
const within = (canvas, place, beside = 0) => {
  const box = canvas.getBoundingClientRect();
  return {
    x: Math.min(Math.max(place.x, box.left + 13 + beside), box.right - 13),
    y: Math.min(Math.max(place.y, box.top + 6), box.bottom - 6 - beside),
  };
};
const inside = (canvas, place) => {
  const box = canvas.getBoundingClientRect();
  return box.left <= place.x && place.x < box.right && box.top <= place.y && place.y < box.bottom;
};

// Vega tells by the cursor what is under the pointer: the specification gives cells and brushes one.
const cursorOf = (canvas) => canvas.closest(FOCUS)?.style.cursor ?? "";
const isBrushing = (canvas) => cursorOf(canvas) === "crosshair";

// Moves the pointer. A mark that comes with the first move is under the pointer from the second on.
const move = async (canvas, place, id, buttons = 0) => {
  for (let time = 0; time < 2; time++) {
    send(canvas, "pointermove", place, id, buttons);
    await pause(20);
  }
};

// A drag, from the press on: it ends in the canvas wherever the pointer is, or is nothing.
class Drag {
  constructor(canvas, place, id) {
    Object.assign(this, { canvas, start: place, id, moved: false, ended: false });
  }

  to(place) {
    if (this.ended) return;
    this.moved ||= apart(place, this.start) > MOVED;
    send(this.canvas, "pointermove", within(this.canvas, place), this.id, 1);
  }

  async end(place) {
    if (this.ended) return;
    this.ended = true;
    let target = document; // there no mark hears that the pointer is let go
    if (place) {
      for (const beside of BESIDE) {
        const end = within(this.canvas, place, beside);
        await move(this.canvas, end, this.id, 1);
        if (!isBrushing(this.canvas)) continue;
        target = this.canvas;
        place = end;
        break;
      }
    }
    send(target, "pointerup", place ?? this.start, this.id);
    await pause(20);
    send(this.canvas, "pointerout", this.start, this.id);
  }
}

let drag = null; // by mouse or pen
let over = null; // the canvas that the pointer is over, and where
let finger = null; // the one on a canvas
let elsewhere = null; // where a finger was put down elsewhere
let touched = null; // the canvas in which a finger points at something
const pressed = {}; // for each chart, how often each key was
const tell = {}; // for each chart, how its page is told

const leave = () => {
  if (over?.canvas.isConnected) send(over.canvas, "pointerout", over, 1);
  clearTimeout(over?.rest);
  over = null;
};

// Away without a move: the page was scrolled, or a chart above has grown.
const lookWhetherLeft = () => {
  if (over && !drag && document.elementFromPoint(over.x, over.y) !== over.canvas) leave();
};

// The picture has changed or moved under a pointer that rests: it points at another cell now. Words and
// picture come one after the other, so it looks twice.
const lookAgain = () => {
  if (!over?.canvas.isConnected || drag) return;
  const { left, top } = over.canvas.getBoundingClientRect();
  const seen = `${left} ${top} ${over.canvas.closest(FOCUS)?.ariaLabel}`;
  if (seen !== over.seen) Object.assign(over, { seen, looks: 2 });
  if (!over.looks) return;
  over.looks -= 1;
  send(over.canvas, "pointermove", over, 1);
};

// Keys are told while the script rests: a run that is broken off again and again would draw nothing.
let toldAt = 0;
let ticking = false;
const waiting = new Set();
const tellWaiting = () => {
  const resting = document.querySelector('[data-test-script-state="notRunning"]');
  ticking = !resting || Date.now() - toldAt < 150;
  if (ticking) {
    setTimeout(tellWaiting, 30);
    return;
  }
  for (const chart of waiting) tell[chart]?.({ ...pressed[chart] });
  waiting.clear();
  toldAt = Date.now();
};
const press = (chart, key) => {
  if (!tell[chart]) return false;
  pressed[chart] ??= {};
  pressed[chart][key] = (pressed[chart][key] ?? 0) + 1;
  waiting.add(chart);
  if (!ticking) tellWaiting();
  return true;
};
const classOf = (chart) => `.st-key-${chart.replace(/[^\w-]/g, "-")}`;
const shown = (chart) => document.querySelector(`${classOf(chart)} ${FOCUS}`);
const chartOf = (element) => Object.keys(tell).find((chart) => element?.closest(`${classOf(chart)} ${FOCUS}`));

// Of the panels that the hand is on; without such, of all.
const backToLast = (canvas = over?.canvas) => {
  const panels = Object.keys(tell).filter((chart) => chart.endsWith("panels") && shown(chart));
  const here = panels.filter((chart) => [chartOf(canvas), chartOf(document.activeElement)].includes(chart));
  for (const chart of here.length ? here : panels) press(chart, "Escape");
};

// Mouse and pen

const mouse = {
  pointerdown(event) {
    const canvas = canvasOf(event);
    if (canvas && event.button === 0) drag = new Drag(canvas, placeOf(event), event.pointerId);
  },
  pointermove(event) {
    const place = placeOf(event);
    if (drag) {
      if (drag.ended || !(event.buttons & 1)) return mouse.pointerup(event);
      const leaves = canvasOf(event) !== drag.canvas || !inside(drag.canvas, place);
      if (leaves) swallow(event);
      drag.moved ||= apart(place, drag.start) > MOVED;
      if (leaves) drag.to(place);
      return undefined;
    }
    clearTimeout(over?.rest);
    const canvas = canvasOf(event);
    over = canvas && { canvas, ...place, seen: over?.canvas === canvas ? over.seen : undefined };
    if (!canvas || event.buttons) return undefined;
    const rests = () => over?.canvas === canvas && !drag && send(canvas, "pointermove", place, event.pointerId);
    over.rest = setTimeout(rests, REST);
    return undefined;
  },
  pointerout(event) {
    if (drag) swallow(event);
    else if (canvasOf(event) === over?.canvas) over = null;
  },
  pointerup(event) {
    if (!drag?.moved) {
      drag = null;
      return undefined;
    }
    swallow(event);
    if (drag.ended) return undefined;
    const { canvas } = drag, place = placeOf(event);
    return drag.end(place).then(() => {
      drag = null;
      clearTimeout(over?.rest);
      over = inside(canvas, place) ? { canvas, ...place } : null;
      if (over) send(canvas, "pointermove", place, event.pointerId);
    });
  },
  pointercancel: () => drag?.end(null).then(() => { drag = over = null; }),
};

// Fingers: a tap presses, a drag scrolls the page, and after a long press it brushes

const sign = (place) => {
  const ring = Object.assign(document.createElement("div"), { className: "hand-holds" });
  Object.assign(ring.style, { left: `${place.x}px`, top: `${place.y}px` });
  document.body.append(ring);
  return ring;
};

const hold = async (canvas, place, id) => {
  finger.ring = sign(place);
  finger.drag = new Drag(canvas, place, id);
  navigator.vibrate?.(10);
  await move(canvas, place, id);
  send(canvas, "pointerdown", place, id, 1);
};

const letGo = () => {
  if (touched?.isConnected) send(touched, "pointerout", { x: 0, y: 0 }, 1);
  touched = null;
};

const tap = async (canvas, place, id) => {
  if (touched !== canvas) letGo();
  await move(canvas, place, id);
  touched = canvas;
  if (cursorOf(canvas) !== "pointer") {
    letGo();
    backToLast(canvas);
    return;
  }
  send(canvas, "pointerdown", place, id, 1);
  await pause(20);
  send(canvas, "pointerup", place, id);
};

const putAway = () => {
  clearTimeout(finger?.timer);
  finger?.ring?.remove();
  finger = null;
};

const ANSWERS = "a, button, input, textarea, select, label, summary, canvas, svg, [role]:not([role=region])";

const touch = {
  pointerdown(event) {
    const canvas = canvasOf(event), place = placeOf(event), id = event.pointerId;
    elsewhere = canvas ? null : place;
    if (!canvas) return;
    swallow(event);
    if (finger) {  // a second one
      finger.drag?.end(null);
      putAway();
      return;
    }
    finger = { canvas, start: place, id, slipped: false };
    finger.timer = setTimeout(() => hold(canvas, place, id), LONG);
  },
  pointermove(event) {
    const place = placeOf(event);
    if (finger) swallow(event);
    if (event.pointerId !== finger?.id) return;
    if (finger.drag) {
      finger.drag.to(place);
      Object.assign(finger.ring.style, { left: `${place.x}px`, top: `${place.y}px` });
    } else if (apart(place, finger.start) > SLIP) {
      finger.slipped = true;
      clearTimeout(finger.timer);
    }
  },
  pointerup(event) {
    const place = placeOf(event);
    if (canvasOf(event)) swallow(event);
    if (event.pointerId === finger?.id) {
      const { canvas, drag: held, slipped, id } = finger;
      putAway();
      if (held) held.end(held.moved ? place : null);
      else if (!slipped) tap(canvas, place, id);
    } else if (elsewhere && apart(place, elsewhere) <= SLIP) {
      letGo();
      if (event.target.closest("[data-testid=stMain]") && !event.target.closest(ANSWERS)) backToLast();
    }
  },
  pointercancel(event) {
    if (canvasOf(event)) swallow(event);
    finger?.drag?.end(null);
    putAway();
    elsewhere = null;
  },
  pointerout: (event) => canvasOf(event) && swallow(event),
  pointerover: (event) => canvasOf(event) && swallow(event),
};

// Keys

const isBusy = () =>
  document.activeElement?.matches("input, textarea, select, [contenteditable=true]")
  || document.querySelector("[data-testid=stPopoverBody], [role=dialog], [role=menu], [role=listbox]");

const keydown = (event) => {
  if (!event.isTrusted || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (drag?.moved) mouse.pointercancel();
    else if (!isBusy()) backToLast();
    return;
  }
  const chart = chartOf(document.activeElement);
  const across = chart?.endsWith("head_map") ? ["ArrowLeft", "ArrowRight"] : [];
  if (!chart || !["ArrowUp", "ArrowDown", ...across].includes(event.key)) return;
  if (press(chart, event.key)) event.preventDefault();
};

// Charts come and go: those that hear keys can be reached by Tab, and a finger that brushes scrolls no page.
const equip = () => {
  for (const chart of Object.keys(tell)) {
    const element = shown(chart);
    if (element && element.tabIndex !== 0) element.tabIndex = 0;
  }
  for (const canvas of document.querySelectorAll(CANVAS)) {
    if (canvas.dataset.hand) continue;
    canvas.dataset.hand = "here";
    canvas.addEventListener("touchmove", (event) => finger?.drag && event.preventDefault(), { passive: false });
    canvas.addEventListener("contextmenu", (event) => finger && event.preventDefault());
  }
};

const listen = () => {
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerout", "pointerover"]) {
    const heard = (event) => {
      if (event.isTrusted) (event.pointerType === "touch" ? touch : mouse)[type]?.(event);
    };
    document.addEventListener(type, heard, { capture: true });
  }
  document.addEventListener("selectstart", (event) => (drag || finger) && event.preventDefault());
  document.addEventListener("scroll", lookWhetherLeft, { capture: true, passive: true });
  setInterval(() => { lookWhetherLeft(); lookAgain(); }, 250);
  document.addEventListener("keydown", keydown, { capture: true });
  window.whenChanged(equip);
};
listen();

// What the component of a chart calls when it comes; what it gets back, it calls when it goes.
window.hearKeys = (chart, moved) => {
  tell[chart] = moved;
  equip();
  return () => { if (tell[chart] === moved) delete tell[chart]; };
};
