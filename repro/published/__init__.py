"""Weights that publishers offer for download, by name: `torchvision:mobilenet_v2`, `timm:rdnet_tiny.nv_in1k`.

Addresses, hashes and preprocessing are read from the publisher's installed package; a table made by
`python -m repro.published.make_table` serves where the package is missing.
"""
