"""What runs in the ramdisk: the server on the laptop, the client on the desktop."""
