/// Calls the second tool, which needs more scope than the first one, and then the first one again: what the second one
/// answers or how it ends, and the answer of the first one.
export async function stepUp(write, echo) {
  const outcome = {};
  try {
    outcome.wrote = await write('hello');
  } catch (error) {
    outcome.ended = String(error);
  }
  outcome.still = await echo('again');
  return outcome;
}
