"""The page of a node: HTML, CSS and ES modules as they are served; nothing is built or fetched."""
