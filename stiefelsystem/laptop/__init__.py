"""What runs on the laptop's own OS, or looks at it; host/ installs it."""
