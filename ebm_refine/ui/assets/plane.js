// The plane: windows of one size, each with its layers, and one bar for all.
(() => {
  if (!window.page || page.plane) return;
  // Positions come in this many parts of the window; layers in OFF are not shown at first.
  const PARTS = 4000, OFF = new Set(['field', 'trails']);
  page.plane = (element, props, watch) => {
    const find = (name) => element.querySelector(name);
    const on = {};
    let windows = [], steps = [], at = 0;
    const scrub = new page.Scrub(element, (frame) => { at = frame; draw(); });
    function picture(uri) {
      if (!uri) return null;
      const image = new Image();
      image.onload = draw;
      image.src = uri;
      return image;
    }
    function dots(context, flat, size, radius, colour) {
      context.fillStyle = colour;
      for (let k = 0; k + 1 < flat.length; k += 2) {
        if (flat[k] === null) continue;
        context.beginPath();
        context.arc(flat[k] / PARTS * size, (1 - flat[k + 1] / PARTS) * size, radius, 0, 2 * Math.PI);
        context.fill();
      }
    }
    function arrows(context, field, size, colour) {
      context.strokeStyle = colour; context.lineWidth = size / 500; context.beginPath();
      for (const [x, y, dx, dy] of field) {
        const px = x / PARTS * size, py = (1 - y / PARTS) * size, qx = px + dx * size, qy = py - dy * size;
        const angle = Math.atan2(qy - py, qx - px), head = size / 110;
        context.moveTo(px, py); context.lineTo(qx, qy);
        for (const turn of [2.6, -2.6]) {
          context.moveTo(qx, qy); context.lineTo(qx + head * Math.cos(angle + turn), qy + head * Math.sin(angle + turn));
        }
      }
      context.stroke();
    }
    function trails(context, frames, size) {
      context.strokeStyle = '#ea580c66'; context.lineWidth = size / 450; context.beginPath();
      const last = frames[frames.length - 1];
      for (let k = 0; k + 1 < Math.min(last.length, 240); k += 2) {
        let drawn = false;
        for (const flat of frames) {
          if (flat[k] === null) { drawn = false; continue; }
          const px = flat[k] / PARTS * size, py = (1 - flat[k + 1] / PARTS) * size;
          if (drawn) context.lineTo(px, py); else context.moveTo(px, py);
          drawn = true;
        }
      }
      context.stroke();
    }
    function offers(context, flat, taken, size) {
      context.lineWidth = size / 320;
      const arm = size / 120;
      for (let k = 0; k + 1 < flat.length; k += 2) {
        if (flat[k] === null) continue;
        const px = flat[k] / PARTS * size, py = (1 - flat[k + 1] / PARTS) * size;
        context.strokeStyle = taken[k / 2] ? '#16a34a' : '#dc2626';
        context.beginPath();
        if (taken[k / 2]) context.arc(px, py, arm, 0, 2 * Math.PI);
        else {
          context.moveTo(px - arm, py - arm); context.lineTo(px + arm, py + arm);
          context.moveTo(px - arm, py + arm); context.lineTo(px + arm, py - arm);
        }
        context.stroke();
      }
    }
    function draw() {
      const style = getComputedStyle(element), ink = style.getPropertyValue('--body-text-color').trim() || '#888';
      windows.forEach((one, number) => {
        const canvas = element.querySelectorAll('canvas')[number];
        if (!canvas) return;
        const size = Math.max(200, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
        if (canvas.width !== size) { canvas.width = size; canvas.height = size; }
        const context = canvas.getContext('2d'), dot = size / 240;
        context.clearRect(0, 0, size, size);
        for (const name of ['shade', 'contours']) {
          const image = one.images[name];
          if (on[name] && image && image.complete && image.naturalWidth) context.drawImage(image, 0, 0, size, size);
        }
        if (on.field) arrows(context, one.field, size, ink);
        context.globalAlpha = 0.45;
        if (on.data) dots(context, one.data, size, dot * 0.8, ink);
        context.globalAlpha = 0.8;
        if (on.before && one.frames.length) dots(context, one.frames[0], size, dot * 0.9, '#0ea5e9');
        context.globalAlpha = 1;
        const frame = Math.min(at, one.frames.length - 1);
        if (on.trails && frame > 0) trails(context, one.frames.slice(Math.max(0, frame - 12), frame + 1), size);
        if (on.particles && frame >= 0) dots(context, one.frames[frame], size, dot, '#ea580c');
        if (on.proposals && one.proposals[frame]) offers(context, one.proposals[frame], one.taken[frame], size);
        canvas.dataset.frame = at;
      });
    }
    async function load() {
      const asked = props.value, value = await page.fetched(asked), whole = find('.plane');
      if (!whole || asked !== props.value) return;
      whole.hidden = !value;
      if (whole.hidden) { scrub.pause(); windows = []; return; }
      steps = value.steps;
      windows = value.windows.map((one) => ({
        ...one, images: { shade: picture(one.shade), contours: picture(one.contours) },
      }));
      const some = {
        shade: windows.some((one) => one.shade), contours: windows.some((one) => one.contours),
        field: windows.some((one) => one.field.length), data: windows.some((one) => one.data.length),
        before: steps.length > 1, particles: windows.some((one) => one.frames.length), trails: steps.length > 1,
        proposals: windows.some((one) => one.proposals.some((flat) => flat)),
      };
      for (const box of element.querySelectorAll('[data-layer]')) {
        const layer = box.dataset.layer;
        if (!(layer in on)) on[layer] = !OFF.has(layer);
        box.checked = on[layer];
        box.closest('label').hidden = !some[layer];
      }
      const panes = find('.windows');
      panes.replaceChildren(...windows.map((one) => {
        const figure = document.createElement('figure'), canvas = document.createElement('canvas');
        const caption = document.createElement('figcaption');
        canvas.setAttribute('role', 'img');
        canvas.setAttribute('aria-label', one.caption + '. ' + value.label);
        caption.textContent = one.caption;
        figure.append(canvas, caption);
        return figure;
      }));
      find('.bar').hidden = steps.length < 2;
      scrub.load(steps, steps.length - 1);
    }
    element.addEventListener('input', (event) => {
      const layer = event.target.dataset.layer;
      if (layer) { on[layer] = event.target.checked; draw(); }
    });
    new ResizeObserver(draw).observe(element);
    watch('value', load);
    load();
  };
})();
