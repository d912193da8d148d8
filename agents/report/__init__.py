"""The scorecard of a node (考核评价): what was promised, what was kept, and what is not known."""
