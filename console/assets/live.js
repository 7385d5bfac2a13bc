// Brings a page that is open up to date when a new epoch is there. The page is whole without it.
"use strict";
(function () {
  const EVERY_MS = 5000;
  const fresh = document.querySelectorAll("[data-live]");
  if (fresh.length === 0 || !window.EventSource) return;
  let last = Date.now();
  let waiting = null;

  function isUsed(part) {
    const focused = document.activeElement;
    const chosen = window.getSelection();
    return part.contains(focused) && focused !== document.body
      || (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
  }

  function openOf(part) {
    return Array.from(part.querySelectorAll("details"), (details) => details.open);
  }

  async function refresh() {
    waiting = null;
    last = Date.now();
    if (document.hidden) return;
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (!next || isUsed(part) || next.innerHTML === part.innerHTML) continue;
      const open = openOf(part);
      part.replaceChildren(...next.childNodes);
      part.querySelectorAll("details").forEach((details, index) => { details.open = open[index] === true; });
    }
    const told = page.getElementById("live-status");
    const status = document.getElementById("live-status");
    if (told && status) status.dataset.refreshed = String(Date.now());
  }

  function soon() {
    if (waiting !== null) return;
    waiting = setTimeout(() => { refresh().catch(() => {}); }, Math.max(0, last + EVERY_MS - Date.now()));
  }

  // Pages that nobody looks at leave their place to others, and a browser opens few streams to one server.
  let events = null;
  function follow() {
    if (document.hidden) {
      if (events) events.close();
      events = null;
    } else if (!events) {
      events = new EventSource("/events");
      events.addEventListener("epoch", soon);
    }
  }
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pageshow", follow);
  window.addEventListener("pagehide", () => {
    if (events) events.close();
    events = null;
  });
  follow();
})();
