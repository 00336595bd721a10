import Recurrences
import Reference

extension Recurrence {
  /// What is wrong with the numbers that a user brings, each a sentence: gates above zero, decays
  /// above one, NaN. A kernel does not look; the state would grow without bound.
  public func domainProblems(_ inputs: [String: [Double]]) -> [String] {
    self.inputs.compactMap { input in
      guard let numbers = inputs[input.name] else { return nil }
      let outside = numbers.indices.filter { place in
        let x = numbers[place]
        return !(input.domain.lower <= x && x <= input.domain.upper)
      }
      guard let first = outside.first else { return nil }
      return "\(outside.count) of the \(numbers.count) numbers of '\(input.name)' lie outside "
        + "\(input.domain), the first, \(numbers[first]), at place \(first)"
        + (input.domain == .nonPositive ? "; a log decay must not be above 0." : ".")
    }
  }
}
