// Brings a page that is open up to date when a new epoch is there, and now and then without one. The page is whole
// without it, and says when it is not kept up to date any more.
"use strict";
(function () {
  const EVERY_MS = 5000;
  const AGAIN_MS = 15000;
  const status = document.getElementById("live-status");
  const fresh = document.querySelectorAll("[data-live]");
  if (fresh.length === 0 || !window.EventSource) return;
  let last = Date.now();
  let waiting = null;
  let isAsking = false;

  function isUsed(part) {
    const focused = document.activeElement;
    const chosen = window.getSelection();
    return part.contains(focused) && focused !== document.body
      || (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
  }

  function openOf(part) {
    return Array.from(part.querySelectorAll("details"), (details) => details.open);
  }

  // Told once: readers of screens hear each change of it.
  function tell(isStale) {
    const text = isStale ? status.dataset.stale : "";
    if (status.textContent !== text) status.textContent = text;
  }

  async function fetched() {
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error("the page cannot be had");
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  async function refresh() {
    waiting = null;
    last = Date.now();
    if (document.hidden) return;
    // What is slow to answer is asked once at a time, and again after what came meanwhile.
    if (isAsking) {
      soon();
      return;
    }
    isAsking = true;
    let page = null;
    try {
      page = await fetched();
    } catch {
      // Of a page that is being left nothing is told.
      if (!isLeft) tell(true);
      return;
    } finally {
      isAsking = false;
      last = Date.now();
    }
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (!next || isUsed(part) || next.innerHTML === part.innerHTML) continue;
      const open = openOf(part);
      part.replaceChildren(...next.childNodes);
      part.querySelectorAll("details").forEach((details, index) => { details.open = open[index] === true; });
    }
    tell(false);
  }

  function soon() {
    if (waiting !== null) return;
    waiting = setTimeout(refresh, Math.max(0, last + EVERY_MS - Date.now()));
  }

  // Pages that nobody looks at leave their place to others, and a browser opens few streams to one server.
  let events = null;
  let isLeft = false;
  function leave() {
    if (events) events.close();
    events = null;
  }
  function follow() {
    if (document.hidden || isLeft) {
      leave();
    } else if (!events) {
      events = new EventSource("/events");
      events.addEventListener("epoch", soon);
      events.addEventListener("error", () => {
        soon();
        // A browser asks again by itself, but not whoever refused it.
        if (!events || events.readyState !== EventSource.CLOSED) return;
        events = null;
        setTimeout(follow, AGAIN_MS);
      });
    }
  }
  document.addEventListener("visibilitychange", () => { follow(); soon(); });
  window.addEventListener("pageshow", () => { isLeft = false; follow(); });
  window.addEventListener("pagehide", () => { isLeft = true; leave(); });
  setInterval(soon, Number(status.dataset.every));
  follow();
})();
