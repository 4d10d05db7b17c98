"""What the jobs of the importers do: import the documents of a source, and remove what no run confirms any more."""
