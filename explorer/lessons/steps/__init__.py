"""The lessons, one file each; every file has its `LESSON`."""
