"""The catalogue of images, and the file of a lab that pins those it uses."""
