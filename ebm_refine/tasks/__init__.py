"""What an energy can answer. One question a file; each computes with an energy and knows nothing of checkpoints or pages.

A law is p(x) = exp(-E(x)) / Z, and none of these needs Z: it cancels between points of one law, and between labels of one x.

- `conditional`: the missing pixels given the seen ones, and a clean image given a noisy one, as laws for the samplers. `masks`
  says which are missing.
- `reflection`: the same laws confined to the range of the data, for chains at unit temperature.
- `labels`: E(x, y) over labels y: argmin, p(y | x), and E(x) with y summed out.
- `row_decoding`: a row of labels whose neighbours depend on each other, by min-sum.
- `comparing`: order of candidates, log p(x) / p(x').
- `detection`: energies of digits against what is no digit. `patterns` makes what is no digit, and digits too, in code.
- `digits`: from an uploaded or drawn picture to the digit that a model knows.
"""
