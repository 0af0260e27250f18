// SPDX-License-Identifier: Apache-2.0
// Keeps an open page current: ages of data, and what changed. Without it, everything works by reloading.
"use strict";

(() => {
  const AGES = 10000; // ms between two looks at the ages
  const PAUSE = 1500; // ms between two fetches of the page
  const PUBLIC = 30000; // ms: a page without a session asks for itself
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const spoken = new Intl.RelativeTimeFormat(document.documentElement.lang, { style: "short", numeric: "always" });
  const live = new Set((document.body.dataset.live || "").split(" ").filter(Boolean));
  let source = null;
  let waiting = false;
  let wanted = false;

  function ages() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
      const [unit, size] = UNITS.find(([, length]) => seconds >= length) || UNITS[3];
      time.textContent = spoken.format(-Math.floor(seconds / size), unit);
    }
  }

  // Replace the content of the page by what it is now; keep what is open, focused and scrolled to.
  async function renew() {
    if (waiting) {
      wanted = true;
      return;
    }
    waiting = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Part": "1" }, credentials: "same-origin" });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // the manager restarts, or the network is gone: the next event tries again
    }
    setTimeout(() => {
      waiting = false;
      if (wanted) {
        wanted = false;
        renew();
      }
    }, PAUSE);
  }

  function replace(fresh) {
    const before = document.getElementById("content");
    const after = fresh.getElementById("content");
    if (!before || !after || before.innerHTML === after.innerHTML) return;
    const open = [...before.querySelectorAll("details[open][id]")].map((one) => one.id);
    const scrolled = [...before.querySelectorAll(".scroll[id]")].map((one) => [one.id, one.scrollLeft, one.scrollTop]);
    const focused = before.contains(document.activeElement) ? document.activeElement.id : "";
    before.replaceChildren(...after.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, left, top] of scrolled) {
      const one = document.getElementById(id);
      if (one) [one.scrollLeft, one.scrollTop] = [left, top];
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    ages();
  }

  function listen() {
    if (source || !live.size || live.has("page") || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("changed", (event) => {
      if (JSON.parse(event.data).some((name) => live.has(name))) renew();
    });
  }

  // Browsers open few connections to one server: pages in the background give theirs back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      if (live.size) renew();
      listen();
    }
  });
  setInterval(ages, AGES);
  if (live.has("page")) setInterval(() => document.hidden || renew(), PUBLIC);
  ages();
  listen();
})();
