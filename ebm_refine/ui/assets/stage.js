// A result to look at: its film, before and after under a divider, or both grids side by side; and, while a chain runs, both grids.
(() => {
  if (!window.page || page.stage) return;
  page.stage = (element, props, watch, trigger) => {
    const find = (name) => element.querySelector(name);
    const film = new page.Film(find('.view-film'));
    const scrub = new page.Scrub(find('.view-film'), (frame) => film.draw(frame));
    scrub.loop = true;
    let shown = null, mode = null, chosen = null;

    function picture(image, given) {
      image.alt = given.alt;
      if (image.getAttribute('src') !== given.src) image.src = given.src;
    }
    function show(wanted) {
      mode = wanted;
      for (const button of element.querySelectorAll('.modes button')) {
        button.setAttribute('aria-pressed', String(button.dataset.mode === mode));
      }
      for (const view of element.querySelectorAll('[data-view]')) view.hidden = view.dataset.view !== mode;
      if (mode === 'film' && shown.film) {
        film.load(shown.film.src, shown.film.steps.length);
        scrub.load(shown.film.steps, page.still() ? shown.film.steps.length - 1 : 0);
        if (!page.still()) scrub.play();
      } else scrub.pause();
      resize();
    }
    function resize() {
      for (const image of element.querySelectorAll('img')) page.sharpen(image);
      page.sharpen(find('canvas'));
    }
    function divide() {
      find('.over').style.clipPath = `inset(0 0 0 ${find('.cut').value}%)`;
      find('.line').style.left = find('.cut').value + '%';
    }
    function load() {
      const value = page.read(props.value);
      find('.stage').hidden = !value;
      if (!value) { scrub.pause(); return; }
      const fresh = !shown || shown.live !== value.live || value.mode !== shown.mode || value.after.src !== shown.after.src;
      shown = value;
      for (const side of ['before', 'after']) {
        const figure = find('.side-' + side);
        picture(figure.querySelector('img'), value[side]);
        figure.querySelector('figcaption').textContent = value[side].label;
        figure.style.minWidth = value.tiles && !value.live ? Math.min(value.tiles.columns * 64, 560) + 'px' : '';
      }
      for (const [name, side] of [['.under', 'before'], ['.over', 'after']]) picture(find(name), value[side]);
      find('canvas').setAttribute('aria-label', value.film ? value.film.label : '');
      // Many tiles take the whole width: on wide screens the verdict stands beside the others.
      element.closest('#stage').classList.toggle('many', Boolean(value.tiles && value.tiles.columns > 4));
      find('.modes').hidden = value.live;
      find('[data-mode="film"]').hidden = !value.film;
      if (fresh && !(value.live && mode === 'sides')) show(value.live ? 'sides' : chosen && (chosen !== 'film' || value.film) && !value.first ? chosen : value.mode);
    }
    element.addEventListener('click', (event) => {
      const button = event.target.closest('.modes button');
      if (button) { chosen = button.dataset.mode; show(chosen); return; }
      const image = event.target.closest('.sides img');
      if (!image || !shown || !shown.tiles || shown.live) return;
      const box = image.getBoundingClientRect(), tiles = shown.tiles;
      const column = Math.floor((event.clientX - box.left) / box.width * image.naturalWidth / tiles.pitch_x);
      const row = Math.floor((event.clientY - box.top) / box.height * image.naturalHeight / tiles.pitch_y);
      const index = row * tiles.columns + column;
      if (column < tiles.columns && index < tiles.count) trigger('select', {index: index});
    });
    element.addEventListener('input', (event) => { if (event.target.classList.contains('cut')) divide(); });
    for (const image of element.querySelectorAll('img')) image.addEventListener('load', resize);
    new ResizeObserver(resize).observe(element);
    watch('value', load);
    load();
    divide();
  };
})();
