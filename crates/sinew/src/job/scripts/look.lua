-- A partition in numbers.
-- Returns what numbers() says
-- One script, so that the numbers are of one moment.

return numbers()
