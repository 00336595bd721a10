import Sluice

await SluiceMain.main(recurrences: [.glaLayer, .retnetLayer])
