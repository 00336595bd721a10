import Emission
import Recurrences
import Schedules
import TileIR

extension PlantedFault {
  /// Faults where keys are monomials of features: in the map, in its adjoint, and around them.
  static let monomialFaults: [PlantedFault] = [
    monomials("squares that count as other products do", "0.70710678118654752f", "1.0f"),
    monomials("monomials of rows past the sequence's end") { operation in
      guard case .map(var map) = operation, map.target.tile == "k", map.tail != nil else {
        return nil
      }
      map.tail = nil
      return [.map(map)]
    },
    monomials(
      "an adjoint without the products with later features",
      "sl_add(sum[first / SL_LANES], sl_sum_rows(later))", "sum[first / SL_LANES]", inGradient: true
    ),
    monomials(
      "an adjoint of squares as of other products", "sl_mul(w, sl_set(sl_square_first[0]))", "w",
      inGradient: true),
    monomials("features that are not scaled back", inGradient: true) { operation in
      guard case .map(var map) = operation, map.target.tile == "grad_k",
        case .binary(.multiply, let adjoint, .constant) = map.expression
      else { return nil }
      map.expression = adjoint
      return [.map(map)]
    },
  ]

  private static func monomials(
    _ name: String, _ pattern: String, _ replacement: String, inGradient: Bool = false
  ) -> PlantedFault {
    planted(name, .source, inGradient) { specification, plan, backward in
      var kernel = try Emitter.emit(specification, plan, backward: backward)
      let mutation = SourceMutation(pattern, replacement)
      guard let text = try mutation.applied(to: kernel.source.text) else { throw missing(name) }
      kernel.source.text = text
      return kernel
    }
  }

  private static func monomials(
    _ name: String, inGradient: Bool = false,
    _ change: @escaping @Sendable (Operation) -> [Operation]?
  ) -> PlantedFault {
    planted(name, .tileProgram, inGradient) { specification, plan, backward in
      let forward = try Emitter.lower(specification, plan)
      guard let backward else {
        guard let wrong = forward.replacingOperations(change) else { throw missing(name) }
        return try Emitter.emit(specification, plan, program: wrong)
      }
      let right = try Emitter.lower(specification, backward)
      guard let wrong = right.replacingOperations(change) else { throw missing(name) }
      return try Emitter.emit(
        specification, plan, program: forward, backward: backward, gradient: wrong)
    }
  }

  /// Into Taylor attention with five features, whose normalizer sees every row of keys.
  private static func planted(
    _ name: String, _ layer: Layer, _ inGradient: Bool,
    _ plant: @escaping @Sendable (KernelSpecification, Plan, Plan?) throws -> EmittedKernel
  ) -> PlantedFault {
    let key = Monomials.count(of: 5)
    var (plan, backward) = (Plan.faultyFused, Plan.faultyGradient)
    (plan.keyTile, backward.keyTile) = (key, key)
    let gradient = inGradient ? backward : nil
    return PlantedFault(
      name: name, layer: layer, recurrence: "linear-attention-normalized", map: .taylor2,
      plan: plan, backward: gradient, key: key
    ) { try plant($0, $1, gradient) }
  }
}
