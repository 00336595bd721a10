import Recurrences
import Reference

extension Interval {
  /// A number of moderate size that lies inside.
  public func draw(_ random: inout Seeded) -> Double {
    Double.random(in: max(lower, min(-2, upper))...min(upper, max(2, lower)), using: &random)
  }
}

extension Arguments {
  /// Legal arguments of moderate size, with initial states and a scale that is not one.
  public static func drawn(
    _ recurrence: Recurrence, _ shape: ProblemShape, _ random: inout Seeded
  ) -> Arguments {
    var arguments = Arguments(inputs: [:], scale: 0.7)
    for input in recurrence.inputs {
      arguments.inputs[input.name] = (0..<shape.count(input)).map { _ in
        input.domain.draw(&random)
      }
    }
    for state in recurrence.states {
      if state.axes == .key, recurrence.hasFeatures {
        // A sum of keys' monomials, of which one is as good as many.
        arguments.initialStates[state.name] = (0..<shape.sequences.count * shape.heads).flatMap {
          _ in
          Monomials.apply(
            (0..<shape.count(.feature)).map { _ in .random(in: -1...1, using: &random) })
        }
        continue
      }
      // A normalizer's state is a sum of keys, so it is as positive as they are.
      arguments.initialStates[state.name] = (0..<shape.count(state)).map { _ in
        Double.random(in: state.axes == .key ? 0...1 : -1...1, using: &random)
      }
    }
    return arguments
  }
}
