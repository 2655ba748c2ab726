"""The docket: public reports of differences between operators, and whether the verdicts agree with the rulings."""
