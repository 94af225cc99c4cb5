// Numbers and choices by name, as many as the chosen method has: one component in place of one for every parameter of every method.
(() => {
  if (!window.page || page.form) return;
  page.form = (element, props, watch, trigger) => {
    let drawn = '';
    const rows = () => (page.read(props.value) || {rows: []}).rows;
    function control(row, number) {
      const label = document.createElement('label'), name = document.createElement('span');
      name.textContent = row.label;
      name.className = 'name';
      const input = document.createElement(row.choices ? 'select' : 'input');
      input.name = row.name;
      if (row.choices) {
        for (const choice of row.choices) input.append(new Option(choice, choice));
      } else {
        input.type = 'text'; input.inputMode = 'decimal'; input.autocomplete = 'off'; input.placeholder = row.placeholder;
      }
      input.value = row.value;
      label.append(name, input);
      if (row.help) {
        const help = document.createElement('small');
        help.textContent = row.help;
        help.id = element.id + '-help-' + number;
        input.setAttribute('aria-describedby', help.id);
        label.append(help);
      }
      return label;
    }
    function load() {
      const shape = JSON.stringify(rows());
      if (shape === drawn) return;
      drawn = shape;
      element.querySelector('.parameters').replaceChildren(...rows().map(control));
    }
    element.addEventListener('input', (event) => {
      const given = rows();
      const row = given.find((one) => one.name === event.target.name);
      if (!row) return;
      row.value = event.target.value;
      drawn = JSON.stringify(given);
      props.value = JSON.stringify({rows: given});
      trigger('input');
    });
    watch('value', load);
    load();
  };
})();
