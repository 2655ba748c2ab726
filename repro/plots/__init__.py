"""Pictures: training curves, captioned images and sheets of them, confusion matrices, bars of ratios."""
