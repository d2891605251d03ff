// Keeps an open page up to date: when the server's event stream reports a change, fetches the page again and replaces
// every part marked data-live that differs.
"use strict";

(() => {
  const address = document.body.dataset.stream;
  const banner = document.getElementById("live");
  if (!address || !banner) return;

  let source = null;
  let fetching = false;
  let again = false;
  let timer = 0;
  let retryDelay = 1000;
  let reopenDelay = 1000;
  let lostAt = null;

  const showState = (state, text) => {
    banner.hidden = false;
    if (banner.dataset.state === state) return;
    banner.dataset.state = state;
    banner.textContent = text;
  };

  // The browser itself parses the document: its scripts do not run, and no string becomes markup here.
  const fetchPage = () => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 15000;
    request.onload = () => {
      // Without a session we are redirected to the log-in page, which must not be taken for this page without changes.
      if (request.responseURL && new URL(request.responseURL).pathname !== location.pathname) failed(401);
      else if (request.status === 200 && request.response) done(request.response);
      else failed(request.status);
    };
    request.onerror = request.ontimeout = () => failed(0);
    request.send();
  });

  const replace = (page) => {
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (!fresh) continue;
      for (const open of old.querySelectorAll("details[open]")) {
        const same = fresh.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      if (fresh.isEqualNode(old)) continue;
      const scrolled = [...old.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
      const focused = old.contains(document.activeElement) ? pathTo(old, document.activeElement) : null;
      const adopted = document.importNode(fresh, true);
      old.replaceWith(adopted);
      adopted.querySelectorAll(".scroll").forEach((one, place) => { one.scrollLeft = scrolled[place] || 0; });
      if (focused) follow(adopted, focused)?.focus({ preventScroll: true });
    }
  };

  // Keeps the keyboard focus: on the same link, else on the element at the same position.
  const pathTo = (root, one) => ({ href: one.getAttribute("href"), places: places(root, one), tag: one.tagName });
  const places = (root, one) => {
    const found = [];
    for (; one !== root; one = one.parentElement) found.unshift([...one.parentElement.children].indexOf(one));
    return found;
  };
  const follow = (root, path) => {
    const same = path.href && [...root.querySelectorAll("a")].find((one) => one.getAttribute("href") === path.href);
    if (same) return same;
    let one = root;
    for (const place of path.places) one = one?.children[place];
    return one?.tagName === path.tag ? one : null;
  };

  const refresh = async () => {
    if (document.hidden) return;
    if (fetching) { again = true; return; }
    fetching = true;
    try {
      replace(await fetchPage());
      lostAt = null;
      retryDelay = 1000;
      if (source && source.readyState === EventSource.OPEN) showState("live", "Live");
    } catch (status) {
      if (status === 401 || status === 403) location.reload();
      lost();
      again = true;
      retryDelay = Math.min(retryDelay * 2, 30000);
    } finally {
      fetching = false;
      if (again) { again = false; clearTimeout(timer); timer = setTimeout(refresh, retryDelay); }
    }
  };

  const lost = () => {
    lostAt = lostAt || new Date();
    showState("lost", "Connection lost at " + lostAt.toISOString().slice(11, 19) + "; trying again");
  };

  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.onopen = () => { reopenDelay = 1000; showState("live", "Live"); refresh(); };
    source.addEventListener("change", refresh);
    source.onerror = () => {
      lost();
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        refresh(); // a refused stream gives no reason, but the page does: without a session it leads to the log-in
        setTimeout(listen, reopenDelay);
        reopenDelay = Math.min(reopenDelay * 2, 30000);
      }
    };
  };

  const pause = () => {
    if (source) source.close();
    source = null;
    showState("paused", "Paused");
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : listen()));
  addEventListener("pagehide", pause);
  addEventListener("pageshow", listen);
  listen();
})();
