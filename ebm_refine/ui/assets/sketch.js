// A canvas to write on, with a pen for mouse, touch and stylus. Strokes are stored here; the value is the drawing as a PNG.
(() => {
  if (!window.page || page.sketch) return;
  page.sketch = (element, props, watch, trigger) => {
    const strokes = [];
    let writing = null;
    const canvas = () => element.querySelector('canvas');
    function draw() {
      const surface = canvas();
      if (!surface) return;
      const pen = surface.getContext('2d');
      pen.fillStyle = '#fff';
      pen.fillRect(0, 0, surface.width, surface.height);
      pen.strokeStyle = pen.fillStyle = '#000';
      pen.lineWidth = surface.height * props.pen; pen.lineCap = pen.lineJoin = 'round';
      for (const stroke of strokes) {
        pen.beginPath();
        pen.moveTo(...stroke[0]);
        for (const point of stroke) pen.lineTo(...point);
        pen.stroke();
      }
    }
    function tell() {
      draw();
      props.value = strokes.length ? canvas().toDataURL('image/png') : '';
      requestAnimationFrame(draw);
      trigger('input');
    }
    function at(event) {
      const surface = canvas(), box = surface.getBoundingClientRect();
      return [(event.clientX - box.left) * surface.width / box.width, (event.clientY - box.top) * surface.height / box.height];
    }
    element.addEventListener('pointerdown', (event) => {
      if (event.target !== canvas()) return;
      event.preventDefault();
      canvas().setPointerCapture(event.pointerId);
      writing = [at(event)];
      strokes.push(writing);
      draw();
    });
    element.addEventListener('pointermove', (event) => {
      if (writing) { writing.push(at(event)); draw(); }
    });
    for (const end of ['pointerup', 'pointercancel']) {
      element.addEventListener(end, () => { if (writing) { writing = null; tell(); } });
    }
    element.addEventListener('click', (event) => {
      if (event.target.closest('.undo')) strokes.pop();
      else if (event.target.closest('.clear')) strokes.length = 0;
      else return;
      tell();
    });
    watch('value', draw);
    draw();
  };
})();
