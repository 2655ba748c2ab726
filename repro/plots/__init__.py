"""Pictures: training curves, sheets of images, confusion matrices."""
