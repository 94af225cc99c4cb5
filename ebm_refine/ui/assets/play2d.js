// Particles in the plane, moved in the browser: closed-form laws, and energies of trained models on a grid. Nothing asks the server.
(() => {
  if (!window.page || page.play2d) return;
  const POINTS = 300;

  // A number from the standard normal law.
  function normal() {
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  }

  // Gaussians of one width, all of one weight: log density up to a constant, and its gradient.
  function mixture(data) {
    const {centres, width, modes} = data, count = centres.length / 2, scale = 1 / (2 * width * width);
    return {
      ...data, trained: false, count: Math.max(...modes) + 1,
      log(x, y) {
        let best = Infinity, sum = 0;
        for (let k = 0; k < count; k++) {
          const dx = x - centres[2 * k], dy = y - centres[2 * k + 1], d = dx * dx + dy * dy;
          if (d < best) best = d;
        }
        for (let k = 0; k < count; k++) {
          const dx = x - centres[2 * k], dy = y - centres[2 * k + 1], far = (dx * dx + dy * dy - best) * scale;
          if (far < 20) sum += Math.exp(-far);
        }
        return Math.log(sum) - best * scale;
      },
      slope(x, y, out) {
        let best = Infinity, sum = 0, gx = 0, gy = 0;
        for (let k = 0; k < count; k++) {
          const dx = x - centres[2 * k], dy = y - centres[2 * k + 1], d = dx * dx + dy * dy;
          if (d < best) best = d;
        }
        for (let k = 0; k < count; k++) {
          const dx = x - centres[2 * k], dy = y - centres[2 * k + 1], far = (dx * dx + dy * dy - best) * scale;
          if (far > 20) continue;
          const weight = Math.exp(-far);
          sum += weight; gx -= weight * dx; gy -= weight * dy;
        }
        out[0] = 2 * scale * gx / sum; out[1] = 2 * scale * gy / sum;
      },
      nearest(x, y) {
        let best = Infinity, which = 0;
        for (let k = 0; k < count; k++) {
          const dx = x - centres[2 * k], dy = y - centres[2 * k + 1], d = dx * dx + dy * dy;
          if (d < best) { best = d; which = k; }
        }
        return best <= 16 * width * width ? modes[which] : -1;
      },
    };
  }

  // A trained energy, read between the middles of a grid's squares.
  function trained(data, law, box) {
    const size = data.size, values = data.values, step = 2 * box / size;
    const at = (column, row) => values[Math.max(0, Math.min(size - 1, row)) * size + Math.max(0, Math.min(size - 1, column))];
    const place = (x) => (x + box) / step - 0.5;
    return {
      ...law, trained: true,
      log(x, y) {
        const u = place(x), v = place(y), c = Math.floor(u), r = Math.floor(v), a = u - c, b = v - r;
        return -((1 - b) * ((1 - a) * at(c, r) + a * at(c + 1, r)) + b * ((1 - a) * at(c, r + 1) + a * at(c + 1, r + 1)));
      },
      slope(x, y, out) {
        const u = place(x), v = place(y), c = Math.floor(u), r = Math.floor(v), a = u - c, b = v - r;
        out[0] = -((1 - b) * (at(c + 1, r) - at(c, r)) + b * (at(c + 1, r + 1) - at(c, r + 1))) / step;
        out[1] = -((1 - a) * (at(c, r + 1) - at(c, r)) + a * (at(c + 1, r + 1) - at(c + 1, r))) / step;
      },
    };
  }

  page.play2d = async (element, props) => {
    const find = (name) => element.querySelector(name);
    const data = await (await fetch(props.source)).json();
    const box = data.box, broad = data.broad, laws = {};
    for (const [name, one] of Object.entries(data.laws)) laws[name] = mixture(one);
    for (const [name, one] of Object.entries(data.energies)) laws[name] = trained(one, laws[one.law], box);
    let law, x, y, begin, step = 0, accepted = 0, offered = 0, running = true, shade = null, rested = 0, seen = 0;
    const slope = [0, 0];

    function start() {
      x = new Float64Array(POINTS); y = new Float64Array(POINTS);
      for (let k = 0; k < POINTS; k++) {
        if (law.trained) { x[k] = box * (2 * Math.random() - 1); y[k] = box * (2 * Math.random() - 1); }
        else { x[k] = broad * normal(); y[k] = broad * normal(); }
      }
      begin = tell();
      step = accepted = offered = rested = 0;
    }
    const eps = () => Math.pow(10, Number(find('.eps').value));

    // Iterated sampling-importance resampling: choose among the point and fresh ones of the generator by their weights.
    function isir() {
      const count = Number(find('.fresh').value), logs = new Float64Array(count + 1), px = new Float64Array(count + 1), py = new Float64Array(count + 1);
      for (let k = 0; k < POINTS; k++) {
        let top = -Infinity, sum = 0;
        for (let j = 0; j <= count; j++) {
          px[j] = j ? broad * normal() : x[k]; py[j] = j ? broad * normal() : y[k];
          logs[j] = law.log(px[j], py[j]) + (px[j] * px[j] + py[j] * py[j]) / (2 * broad * broad);
          if (logs[j] > top) top = logs[j];
        }
        for (let j = 0; j <= count; j++) { logs[j] = Math.exp(logs[j] - top); sum += logs[j]; }
        let left = Math.random() * sum, chosen = 0;
        while (chosen < count && (left -= logs[chosen]) > 0) chosen++;
        offered++; if (chosen) accepted++;
        x[k] = px[chosen]; y[k] = py[chosen];
      }
    }
    function langevin(adjusted) {
      const size = eps(), noise = Math.sqrt(size);
      for (let k = 0; k < POINTS; k++) {
        law.slope(x[k], y[k], slope);
        const nx = normal(), ny = normal(), gx = slope[0], gy = slope[1];
        const toX = x[k] + size / 2 * gx + noise * nx, toY = y[k] + size / 2 * gy + noise * ny;
        offered++;
        if (adjusted) {
          law.slope(toX, toY, slope);
          const bx = x[k] - toX - size / 2 * slope[0], by = y[k] - toY - size / 2 * slope[1];
          const log = law.log(toX, toY) - law.log(x[k], y[k]) + (nx * nx + ny * ny) / 2 - (bx * bx + by * by) / (2 * size);
          if (!(Math.log(Math.random()) < log)) continue;
        }
        accepted++; x[k] = toX; y[k] = toY;
      }
    }
    function move() {
      const method = find('.method').value, times = method === 'isir' ? 1 : 4, most = Number(find('.most').value);
      for (let k = 0; k < times && step < most; k++, step++) {
        if (method === 'isir') isir(); else langevin(method === 'mala');
      }
    }
    function tell() {
      const found = new Set(); let good = 0;
      for (let k = 0; k < POINTS; k++) {
        const mode = law.nearest(x[k], y[k]);
        if (mode >= 0) { good++; found.add(mode); }
      }
      return {modes: found.size, good: good / POINTS};
    }
    function ground() {
      const side = 110, picture = new ImageData(side, side), heights = [];
      let top = -Infinity;
      for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
        const value = law.log(box * (2 * (column + 0.5) / side - 1), box * (1 - 2 * (row + 0.5) / side));
        heights.push(value); if (value > top) top = value;
      }
      heights.forEach((value, k) => {
        picture.data.set([99, 102, 241, 150 * Math.pow(Math.max(0, 1 + (value - top) / 12), 2)], 4 * k);
      });
      shade = document.createElement('canvas'); shade.width = shade.height = side;
      shade.getContext('2d').putImageData(picture, 0, 0);
    }
    function draw() {
      const canvas = find('canvas'), size = Math.max(200, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
      if (canvas.width !== size) canvas.width = canvas.height = size;
      const pen = canvas.getContext('2d');
      pen.clearRect(0, 0, size, size);
      if (shade) pen.drawImage(shade, 0, 0, size, size);
      pen.fillStyle = '#ea580c';
      for (let k = 0; k < POINTS; k++) {
        pen.beginPath();
        pen.arc((x[k] + box) / (2 * box) * size, (1 - (y[k] + box) / (2 * box)) * size, size / 170, 0, 2 * Math.PI);
        pen.fill();
      }
      canvas.dataset.step = step;
    }
    const percent = (share) => Math.round(100 * share) + ' %';
    function words() {
      const now = tell(), most = Number(find('.most').value);
      find('.now').textContent = `step ${step} of ${most}` + (offered ? ` · ${percent(accepted / offered)} accepted` : '');
      find('.modes').textContent = `${begin.modes} → ${now.modes} of ${law.count}`;
      find('.good').textContent = `${percent(begin.good)} → ${percent(now.good)}`;
    }
    function controls() {
      const method = find('.method').value;
      find('.for-eps').hidden = method === 'isir';
      find('.for-fresh').hidden = method !== 'isir';
      find('.eps-now').textContent = Number(eps().toPrecision(2));
      find('.fresh-now').textContent = find('.fresh').value;
      find('.most-now').textContent = find('.most').value;
    }
    function choose(fresh) {
      law = laws[find('.law').value];
      const isir = find('[value="isir"]');
      isir.disabled = law.trained;  // a trained energy has no generator to draw from
      if (law.trained && find('.method').value === 'isir') find('.method').value = 'langevin';
      if (fresh) {
        find('.eps').value = law.trained ? -2.5 : Math.log10((law.width / 2) ** 2);
        find('.most').value = law.trained ? 200 : 60;
      }
      find('.exact').hidden = law.trained;
      find('.learned').hidden = !law.trained;
      ground(); start(); controls();
    }
    element.addEventListener('input', (event) => {
      if (event.target.classList.contains('law')) choose(true);
      if (event.target.classList.contains('method')) { start(); }
      controls();
      if (event.target.type === 'range') rested = 0;
    });
    element.addEventListener('click', (event) => {
      if (event.target.closest('.again')) { start(); running = true; }
      if (event.target.closest('.hold')) running = !running;
      find('.hold').textContent = running ? 'Pause' : 'Go on';
    });
    choose(true);
    if (page.still()) { running = false; find('.hold').textContent = 'Go on'; }
    draw(); words();
    function frame(time) {
      if (!element.isConnected) return;
      requestAnimationFrame(frame);
      const pace = find('.method').value === 'isir' ? 180 : 33;
      if (!find('canvas').clientWidth || time - seen < pace) return;
      seen = time;
      if (running) {
        if (step < Number(find('.most').value)) move();
        else if (++rested * pace > 3000) start();  // rest on the end, then again from the generator
      }
      draw(); words();
    }
    requestAnimationFrame(frame);
  };
})();
