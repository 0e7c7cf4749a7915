"""Tasks: classifiers, and the decisions of them that are to be explained. One file a data set."""
