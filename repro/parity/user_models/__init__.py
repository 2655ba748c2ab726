"""The comparison of user models: their weights are paired, their settings and results compared, their errors placed."""
