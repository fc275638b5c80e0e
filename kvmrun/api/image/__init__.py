"""The use cases of images: resolve, pull, verify, import, remove."""
