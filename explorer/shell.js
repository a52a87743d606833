// Runs in the page's head, before Streamlit's own scripts.
{
  // Calls `act` soon after the document has changed, and not for every change: a run makes hundreds of them.
  const acts = [];
  let due = false;
  const look = () => {
    due = false;
    acts.forEach((act) => act());
  };
  new MutationObserver(() => {
    if (!due) setTimeout(look, 16); // and not with the next frame: a hidden page has none
    due = true;
  }).observe(document, {
    subtree: true, childList: true, attributes: true,
    attributeFilter: ["data-test-connection-state", "data-test-script-state"],
  });
  window.whenChanged = (act) => acts.push(act);

  // Pages lie beside each other. Without this, Streamlit looks for its server below the page that is opened.
  // A lost connection is told below: Streamlit's dialog would name a command that starts nothing here.
  window.__streamlit = {
    BACKEND_BASE_URL: new URL(".", location.href).href,
    HOST_CONFIG: { blockErrorDialogs: true },
  };

  // Streamlit makes an entry in the history whenever the address changes. A reader goes back to what was
  // picked: not to a slider's value before, nor to an address as it was typed before the page put it right.
  const SETTINGS = __SETTINGS__;
  const picks = (url) => {
    const parameters = new URLSearchParams(url.search);
    SETTINGS.forEach((name) => parameters.delete(name));
    parameters.sort();
    return url.pathname + "?" + parameters;
  };
  const push = history.pushState;
  history.pushState = function (state, title, address) {
    const now = new URL(location.href), next = new URL(address, now);
    const untouched = navigator.userActivation && !navigator.userActivation.hasBeenActive;
    const first = next.pathname === now.pathname && (!now.search || untouched);
    const write = first || picks(next) === picks(now) ? history.replaceState : push;
    return write.call(history, state, title, address);
  };

  // A lost connection: say so, and when it is back let the page look whether its session is still there.
  const AWAY = "The server does not answer. This page tries again by itself, and goes on when it does.";
  const SOON = 1000, AT_FIRST = 15000; // milliseconds; the first time scripts have to be fetched, too
  let connected = false, away;
  const say = () => {
    const app = document.querySelector("[data-test-connection-state]") ?? document.body;
    const { backgroundColor, color, fontFamily } = getComputedStyle(app);
    away = document.createElement("div");
    away.id = "away";
    away.setAttribute("role", "status");
    Object.assign(away.style, {
      position: "fixed", inset: "0 0 auto 0", zIndex: 1e6, padding: "0.75rem 1rem", textAlign: "center",
      backgroundColor, color, fontFamily, borderBottom: "2px solid currentColor",
    });
    document.body.append(away);
    away.textContent = AWAY;
  };
  let waiting = setTimeout(say, AT_FIRST);
  const follow = () => {
    const app = document.querySelector("[data-test-connection-state]");
    if (!app) return;
    const now = app.dataset.testConnectionState === "CONNECTED";
    if (now === connected) return;
    connected = now;
    if (now) {
      clearTimeout(waiting);
      if (away) away.remove();
      if (window.wasConnected) window.dispatchEvent(new Event("reconnected"));
      window.wasConnected = true;
      return;
    }
    waiting = setTimeout(say, SOON);
  };
  window.whenChanged(follow);
}
