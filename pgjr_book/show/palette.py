"""The colours of figures and maps: Okabe and Ito's, which colour-blind readers can tell apart."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
