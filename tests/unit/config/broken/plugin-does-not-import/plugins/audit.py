"""An action."""

import nothing_of_that_name
