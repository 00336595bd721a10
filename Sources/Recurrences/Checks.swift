extension Recurrence {
  /// Everything that is wrong with the text, each a sentence that says what to do.
  static func check(_ recurrence: Recurrence) -> [String] {
    checkNames(recurrence) + checkAxes(recurrence) + checkUses(recurrence)
      + checkGates(recurrence)
  }

  private static func checkNames(_ recurrence: Recurrence) -> [String] {
    var problems: [String] = []
    if !isName(recurrence.name, allowing: "-") {
      problems.append(
        "The name '\(recurrence.name)' must be lower-case letters, digits and hyphens, and begin "
          + "with a letter.")
    }
    let own = [Symbol.scale, Symbol.normalizer, Symbol.output]
    var seen = Set(own)
    for input in recurrence.inputs {
      if own.contains(input.name) {
        problems.append("The name '\(input.name)' has a meaning of its own; rename the input.")
        continue
      }
      if !isName(input.name, allowing: "_", anyCase: true) || reserved.contains(input.name) {
        problems.append(
          "The input '\(input.name)' must be letters, digits and underscores, begin with a letter "
            + "and be no word of C; rename it.")
      }
      if !seen.insert(input.name).inserted {
        problems.append("The input '\(input.name)' is declared twice; rename one.")
      }
    }
    for state in recurrence.states {
      if !isName(state.name, allowing: "_", anyCase: true) {
        problems.append("The state '\(state.name)' must be letters, digits and underscores.")
      }
      if !seen.insert(state.name).inserted {
        problems.append("The state '\(state.name)' has the name of something else; rename it.")
      }
    }
    return problems
  }

  private static func checkAxes(_ recurrence: Recurrence) -> [String] {
    var problems: [String] = []
    if !recurrence.states.contains(where: { $0.axes == .keyValue }) {
      problems.append("There is no state with both axes; declare one with `state`.")
    }
    for state in recurrence.states where !state.axes.contains(state.update.axes) {
      problems.append(
        "The update of '\(state.name)' has axes \(state.update.axes), the state \(state.axes).")
    }
    if recurrence.output.axes != .value {
      problems.append(
        "The output must lie along the value axis, not \(recurrence.output.axes); assign `output`.")
    }
    return problems
  }

  private static func checkUses(_ recurrence: Recurrence) -> [String] {
    var problems: [String] = []
    let known = Set(recurrence.inputs.map(\.name)).union([Symbol.scale])
    let trees = recurrence.states.map(\.update) + [recurrence.output]
    for name in Set(trees.flatMap(\.inputNames)).subtracting(known).sorted() {
      problems.append("'\(name)' is used and not declared.")
    }
    let used = Set(trees.flatMap(\.inputNames))
    for input in recurrence.inputs where !used.contains(input.name) {
      problems.append("The input '\(input.name)' is declared and never used; remove it.")
    }
    for case .monomials(let operand) in Set(trees.flatMap(\.nodes))
    where operand.axes != .feature {
      problems.append("Monomials are of features, and \(operand) lies along \(operand.axes).")
    }
    let axes = Dictionary(
      recurrence.inputs.map { ($0.name, $0.axes) } + recurrence.states.map { ($0.name, $0.axes) }
        + [(Symbol.scale, .scalar)], uniquingKeysWith: { first, _ in first })
    for node in Set(trees.flatMap(\.leaves)).sorted(by: { $0.description < $1.description }) {
      switch node {
      case .input(let name, let own), .state(let name, let own, _):
        if let declared = axes[name], declared != own {
          problems.append("'\(name)' is declared with axes \(declared), and used with \(own).")
        }
        if case .state = node, axes[name] == nil {
          problems.append("The state '\(name)' is used and not declared.")
        }
      default: break
      }
    }
    for state in recurrence.states {
      // Query heads share a state, so none of them may say how it moves.
      for name in state.update.inputNames where recurrence.input(name)?.role == .query {
        problems.append(
          "The update of '\(state.name)' reads the query '\(name)', which differs between the heads "
            + "that share a state; declare it as a key or a gate.")
      }
      let others = recurrence.states.filter { $0.name != state.name }.map(\.update)
      let isRead = ([recurrence.output] + others).contains {
        $0.contains { if case .state(state.name, _, _) = $0 { true } else { false } }
      }
      if !isRead {
        problems.append("The state '\(state.name)' is never read; remove it.")
      }
    }
    return problems
  }

  /// A gate whose map does not prove that it never grows the state is refused here, not at run time.
  private static func checkGates(_ recurrence: Recurrence) -> [String] {
    let domains = recurrence.domains
    var problems: [String] = []
    for state in recurrence.states {
      let own = Expression.state(state.name, state.axes, previous: true)
      for term in state.update.sumOfProducts(where: \.readsState) where term.factors.contains(own) {
        for factor in term.factors where factor != own && !factor.readsState {
          let bounds = factor.bounds(given: domains)
          if !Interval.unit.contains(bounds) {
            problems.append(
              "The gate \(factor) lies in \(bounds), and a decay must provably lie in [0, 1]; give "
                + "its inputs a domain or use a map such as logSigmoid.")
          }
        }
      }
    }
    return problems
  }

  /// Where each declared input lies.
  public var domains: [String: Interval] {
    Dictionary(inputs.map { ($0.name, $0.domain) }, uniquingKeysWith: { first, _ in first })
  }

  private static func isName(
    _ text: String, allowing extra: Character, anyCase: Bool = false
  ) -> Bool {
    guard let first = text.first, first.isASCII, first.isLetter, text.count <= 40 else {
      return false
    }
    return text.allSatisfy {
      $0.isASCII
        && ($0.isLowercase || anyCase && $0.isUppercase || $0.isNumber || $0 == extra)
    }
  }

  /// Words that would collide with C or with the emitted code's own names.
  private static let reserved: Set<String> = [
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
    "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
    "union", "unsigned", "void", "volatile", "while", "o", "output", "lambda", "None", "True",
    "False", "def", "class", "import", "in", "is", "not", "and", "or", "pass", "from", "as",
    "batch", "length", "heads", "threads", "initial_state", "final_state", "cu_seqlens",
    "workspace", "output_final_state", "self", "with", "yield", "try", "raise", "global",
    "assert", "async", "await", "del", "elif", "except", "finally", "nonlocal", "abi", "size",
    "query_heads", "sequences", "layout", "reserved", "workspace_size", "segment_state",
    "segment_decay", "segment_value_decay", "out", "args", "kwargs", "asm", "typeof",
    "states",
  ]
}

extension Expression {
  /// The nodes that have no parts.
  fileprivate var leaves: [Expression] { nodes.filter(\.children.isEmpty) }

  /// The tree's nodes.
  fileprivate var nodes: [Expression] { [self] + children.flatMap(\.nodes) }
}
