"""The public port: uploads, pictures in sizes, and the pages for operators."""
