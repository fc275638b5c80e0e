"""The store of images on this host: download, verification, conversion."""
