"""What runs on the user's machine: building the ramdisk, packing it, trying it in VMs."""
