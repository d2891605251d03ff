// Keeps the page as it would be if it were opened now. The server says that something changed; the page is fetched
// again as it is, and every part marked data-live that differs is put in place of the old one.
"use strict";

(() => {
  const address = document.body.dataset.stream;
  const says = document.getElementById("live");
  if (!address || !says) return;

  let source = null;
  let fetching = false;
  let again = false;
  let timer = 0;
  let wait = 1000;
  let patience = 1000;
  let since = null;

  const tell = (state, text) => {
    says.hidden = false;
    if (says.dataset.state === state) return;
    says.dataset.state = state;
    says.textContent = text;
  };

  // A document parsed by the browser itself: nothing in it runs, no string becomes markup here.
  const fetchPage = () => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 15000;
    request.onload = () => {
      // A session that is over is led to the door, whose page would be taken for ours without news.
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

  // Whoever moves through the page by keyboard stays where they are: the same link, else the same place.
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
      since = null;
      wait = 1000;
      if (source && source.readyState === EventSource.OPEN) tell("live", "Live");
    } catch (status) {
      if (status === 401 || status === 403) location.reload();
      lost();
      again = true;
      wait = Math.min(wait * 2, 30000);
    } finally {
      fetching = false;
      if (again) { again = false; clearTimeout(timer); timer = setTimeout(refresh, wait); }
    }
  };

  const lost = () => {
    since = since || new Date();
    tell("lost", "Connection lost at " + since.toISOString().slice(11, 19) + "; trying again");
  };

  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.onopen = () => { patience = 1000; tell("live", "Live"); refresh(); };
    source.addEventListener("change", refresh);
    source.onerror = () => {
      lost();
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        refresh(); // a stream that is refused does not say why: the page does, whoever is no longer let in sees the door
        setTimeout(listen, patience);
        patience = Math.min(patience * 2, 30000);
      }
    };
  };

  const pause = () => {
    if (source) source.close();
    source = null;
    tell("paused", "Paused");
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : listen()));
  addEventListener("pagehide", pause);
  addEventListener("pageshow", listen);
  listen();
})();
