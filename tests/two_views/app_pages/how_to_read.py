"""Where the links of the views lead."""
