"""Tools to run Push, a package by purpose. No service imports it. README.md lists the packages."""
