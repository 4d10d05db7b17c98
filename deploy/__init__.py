"""How Push is run: the local stack, the demo, images and manifests. No service imports it."""
