// What the scripts of the page share. Each file adds its component to `window.page`; a component's `js_on_load` calls it.
(() => {
  if (window.page) return;
  const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

  // Play, pause and a bar to scrub frames with. `host` has .play, .scrub and .where; nodes are looked up when needed.
  class Scrub {
    constructor(host, show) {
      this.host = host; this.show = show; this.steps = []; this.at = 0; this.timer = null; this.loop = false;
      host.addEventListener('click', (event) => {
        if (event.target.closest('.play')) this.toggle();
      });
      host.addEventListener('input', (event) => {
        if (event.target.classList.contains('scrub')) { this.pause(); this.go(Number(event.target.value)); }
      });
    }
    find(name) { return this.host.querySelector(name); }
    get frames() { return this.steps.length; }
    load(steps, at) {
      this.pause();
      this.steps = steps;
      const scrub = this.find('.scrub');
      if (scrub) scrub.max = Math.max(0, this.frames - 1);
      this.go(at);
    }
    go(frame) {
      this.at = Math.max(0, Math.min(this.frames - 1, frame));
      const scrub = this.find('.scrub'), where = this.find('.where');
      if (!scrub || !this.frames) return;
      const words = 'step ' + this.steps[this.at] + ' of ' + this.steps[this.frames - 1];
      scrub.value = this.at;
      scrub.setAttribute('aria-valuetext', words);
      where.textContent = words;
      this.show(this.at);
    }
    label(playing) {
      const play = this.find('.play');
      if (!play) return;
      play.textContent = playing ? '❚❚' : '▶';
      play.setAttribute('aria-label', playing ? 'Pause' : 'Play');
    }
    pause() { clearInterval(this.timer); this.timer = null; this.label(false); }
    toggle() { if (this.timer) this.pause(); else this.play(); }
    play() {
      if (this.frames < 2) return;
      this.pause();
      this.label(true);
      if (this.at >= this.frames - 1) this.go(0);
      let rest = 0;
      this.timer = setInterval(() => {
        if (!this.host.isConnected) { this.pause(); return; }
        if (this.at < this.frames - 1) { this.go(this.at + 1); return; }
        if (!this.loop) { this.pause(); return; }
        rest += 1;  // a loop rests on its last frame, and on its first
        if (rest > 12) { rest = 0; this.go(0); }
      }, Math.max(50, Math.min(160, 4000 / this.frames)));
    }
  }

  // Pictures are smoothed where they are reduced, and crisp where they are enlarged.
  function sharpen(picture) {
    const natural = picture.naturalWidth || picture.width;
    if (natural && picture.clientWidth) picture.classList.toggle('crisp', picture.clientWidth >= natural);
  }

  // A strip of frames, one below the other, shown through a canvas.
  class Film {
    constructor(host) {
      this.host = host; this.strip = new Image(); this.frame = 0;
      this.strip.onload = () => { this.draw(this.frame); if (this.ready) this.ready(); };
    }
    load(source, frames) { this.frames = frames; if (this.strip.getAttribute('src') !== source) this.strip.src = source; }
    draw(frame) {
      this.frame = frame;
      const canvas = this.host.querySelector('canvas'), strip = this.strip;
      if (!canvas || !this.frames || !strip.complete || !strip.naturalWidth) return;
      const width = strip.naturalWidth, height = strip.naturalHeight / this.frames;
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      canvas.getContext('2d').drawImage(strip, 0, frame * height, width, height, 0, 0, width, height);
      canvas.dataset.frame = frame;
      sharpen(canvas);
    }
  }

  // Values come as JSON in one string: Gradio's page copies other values piece by piece at every message.
  const read = (value) => value ? JSON.parse(value) : null;

  // As `read`, for large values: what ships with the page is fetched once it is shown.
  async function fetched(value) {
    const found = read(value);
    return found && found.src && Object.keys(found).length === 1 ? (await fetch(found.src)).json() : found;
  }

  function player(element, props, watch) {
    const film = new Film(element), scrub = new Scrub(element, (frame) => film.draw(frame));
    function load() {
      const value = read(props.value), whole = element.querySelector('.player');
      whole.hidden = !value;
      if (!value) { scrub.pause(); return; }
      element.querySelector('canvas').setAttribute('aria-label', value.label);
      film.load(value.src, value.steps.length);
      scrub.load(value.steps, value.steps.length - 1);
    }
    watch('value', load);
    load();
  }

  // The address follows what is shown, so that Refresh, Back and a copied address bring it again.
  function address(query) {
    if (query && query !== location.search) history.pushState(null, '', location.pathname + query + location.hash);
  }
  addEventListener('popstate', () => location.reload());

  // Pictures of results, whenever one has come.
  document.addEventListener('load', (event) => { if (event.target.closest?.('.picture')) sharpen(event.target); }, true);

  // Tabs inside a page are in the address too.
  const slug = (text) => text.trim().toLowerCase().replace(/[^a-z0-9]+/g, '-');
  document.addEventListener('click', (event) => {
    const tab = event.target.closest('.address-tabs [role="tab"]');
    if (tab && event.isTrusted) history.replaceState(null, '', location.pathname + location.search + '#' + slug(tab.textContent));
  });
  function openTab(tries) {
    const wanted = location.hash.slice(1);
    if (!wanted) return;
    const tab = [...document.querySelectorAll('.address-tabs [role="tab"]')].find((one) => slug(one.textContent) === wanted);
    if (tab) tab.click();
    else if (tries > 0) setTimeout(() => openTab(tries - 1), 200);
  }
  openTab(25);

  // What is wrong with a value stands where it was typed too: "NAME must be …" under the field of that name, everything else
  // with the button that was pressed last, as it concerns several fields. Elements are called PREFIX-run, PREFIX-run-bar and
  // PREFIX-NAME, and the fields of a form by name.
  let pressed = null;
  const TOAST = '[data-testid="toast-text"].error';  // of Gradio 6.31
  const ALSO = {num_images: 'images', n_steps: 'steps', num_generated: 'generated', N: 'steps', 'image number': 'tile number'};
  const NAMED = [/^([\w ]+?) must be /, /^(\w+) ['"]/, /^the (mask) /];
  function fieldOf(sentence) {
    const [, side, said] = /^(?:method ([AB]): )?(.*)$/s.exec(sentence);  // of two methods that are compared
    const name = NAMED.map((one) => one.exec(said)?.[1]).find(Boolean);
    if (!name) return null;
    const words = [name, ALSO[name]].filter(Boolean).map((one) => slug(side ? `${one}-${side}` : one));
    const prefix = (pressed?.id || '').replace(/[a-z]+$/, '');
    const known = [prefix, ''].flatMap((start) => words.map((word) => document.getElementById(start + word)));
    return document.querySelector(`.parameters [name="${CSS.escape(name)}"]`)?.parentElement || known.find(Boolean);
  }
  function forgive(place) {
    for (const one of place.querySelectorAll('.wrong')) one.remove();
    for (const one of place.querySelectorAll('[aria-invalid]')) one.removeAttribute('aria-invalid');
  }
  // Of a number that has more digits by now: the answers to two keystrokes may come in either order.
  function outdated(sentence, field) {
    const got = /; got (.*)$/s.exec(sentence)?.[1], value = field?.querySelector('input:not([type="range"]), textarea')?.value;
    return Boolean(got && value && value !== got && value.startsWith(got));
  }
  function blame(sentence) {
    const words = document.createElement('p'), field = fieldOf(sentence);
    words.className = 'wrong';
    words.textContent = sentence;
    if (outdated(sentence, field)) return;
    if (field) {
      forgive(field);  // what was said of an earlier value
      let seen = field;
      while (seen && !seen.offsetParent) seen = seen.parentElement;
      if (seen !== field) seen?.querySelector('.label-wrap:not(.open)')?.click();  // it lies in a fold
      field.append(words);
      for (const input of field.querySelectorAll('input:not([type="range"]), select, textarea')) input.setAttribute('aria-invalid', 'true');
    } else if (pressed?.isConnected) {
      words.classList.add('several');
      const bar = pressed.closest('.run-bar');
      if (bar) bar.append(words); else pressed.after(words);
    }
    words.scrollIntoView({block: 'nearest'});
  }
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[id]');
    if (!button) return;
    forgive(document);
    pressed = button;
  }, true);
  document.addEventListener('input', (event) => {
    const block = event.target.closest('.block');
    if (block) forgive(block);
    for (const one of document.querySelectorAll('.wrong.several')) one.remove();
  });
  new MutationObserver((changes) => {
    for (const {addedNodes} of changes) for (const one of addedNodes) {
      const toast = one.matches?.(TOAST) ? one : one.querySelector?.(TOAST);
      if (toast) blame(toast.textContent.trim());
    }
  }).observe(document.documentElement, {childList: true, subtree: true});

  // Gradio 6.31 labels the placeholder of an empty picture or plot, and gives it no role to carry the label.
  new MutationObserver(() => {
    for (const one of document.querySelectorAll('.empty[aria-label]:not([role])')) one.setAttribute('role', 'img');
  }).observe(document.documentElement, {childList: true, subtree: true});

  // Scroll to what may not be there yet, and again while it grows: a tab's content and its pictures come one after the other.
  function reveal(selector) {
    const until = Date.now() + 3000;
    const look = () => {
      const one = document.querySelector(selector);
      if (!one?.offsetHeight) { if (Date.now() < until) setTimeout(look, 50); return; }
      const growing = new ResizeObserver(() => one.scrollIntoView({block: 'nearest'}));
      growing.observe(one);
      setTimeout(() => growing.disconnect(), 3000);
    };
    look();
  }

  window.page = {Scrub, Film, sharpen, read, fetched, player, address, still, slug, reveal};
})();
