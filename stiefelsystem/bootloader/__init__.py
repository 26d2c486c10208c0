"""What the laptop's boot loader boots by default: kernel, initrd and command line."""
