"""Writes files with ROOT, in a process of its own: folder, rows, then name=compression of each pair of files."""

from __future__ import annotations

import sys

import ROOT

DECLARATIONS = """
#include <TFile.h>
#include <TTree.h>
#include <TRandom3.h>
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>
#include <array>
#include <string>
#include <vector>

struct Jet { float pt; int q; };
struct Point { double x; float y; };
#ifdef __CLING__
#pragma link C++ class Jet+;
#pragma link C++ class Point+;
#pragma link C++ class std::vector<Jet>+;
#endif

void write_tree(const char* path, int rows, int compression, bool flush) {
  TFile file(path, "RECREATE", "", compression);
  TTree tree("t", "t");
  if (flush) tree.SetAutoFlush(700);
  else { tree.SetAutoFlush(0); tree.SetDirectory(nullptr); }
  float f; double d; Char_t c; UChar_t uc; Short_t s; UShort_t us; Int_t i; UInt_t ui; Long64_t l; ULong64_t ul; Bool_t b;
  float fixed[3]; int matrix[2][2]; int n; double counted[10];
  std::vector<float> vf; std::vector<double> vd; std::vector<int> vi; std::vector<bool> vb;
  tree.Branch("f", &f, "f/F"); tree.Branch("d", &d, "d/D"); tree.Branch("c", &c, "c/B"); tree.Branch("uc", &uc, "uc/b");
  tree.Branch("s", &s, "s/S"); tree.Branch("us", &us, "us/s"); tree.Branch("i", &i, "i/I"); tree.Branch("ui", &ui, "ui/i");
  tree.Branch("l", &l, "l/L"); tree.Branch("ul", &ul, "ul/l"); tree.Branch("b", &b, "b/O");
  tree.Branch("fixed", fixed, "fixed[3]/F"); tree.Branch("matrix", matrix, "matrix[2][2]/I");
  tree.Branch("n", &n, "n/I"); tree.Branch("counted", counted, "counted[n]/D");
  tree.Branch("vf", &vf); tree.Branch("vd", &vd); tree.Branch("vi", &vi); tree.Branch("vb", &vb);
  TRandom3 random(1);
  for (int row = 0; row < rows; ++row) {
    f = int(random.Gaus(0, 100)); d = random.Gaus(); c = random.Integer(200); uc = random.Integer(250);
    s = int(random.Gaus(0, 999)); us = random.Integer(9999); i = int(random.Gaus(0, 1e6)); ui = random.Integer(4000000000u);
    l = -row; ul = 1ull << (row % 64);
    b = row % 3 == 0; n = row % 100 < 20 ? 0 : random.Integer(10);
    for (int k = 0; k < 3; ++k) fixed[k] = row + k;
    for (int k = 0; k < 4; ++k) matrix[k / 2][k % 2] = row - k;
    vf.clear(); vd.clear(); vi.clear(); vb.clear();
    for (int k = 0; k < n; ++k) {
      counted[k] = random.Gaus(); vf.push_back(k + row); vd.push_back(-k); vi.push_back(row); vb.push_back(k % 2);
    }
    tree.Fill();
  }
  if (flush) tree.Write();
  else file.WriteTObject(&tree, "t");  // as it is, with the baskets that it holds
}

void write_ntuple(const char* path, int rows, int compression) {
  auto model = ROOT::RNTupleModel::Create();
  auto f = model->MakeField<float>("f"); auto d = model->MakeField<double>("d");
  auto i8 = model->MakeField<std::int8_t>("i8"); auto u8 = model->MakeField<std::uint8_t>("u8");
  auto i16 = model->MakeField<std::int16_t>("i16"); auto u16 = model->MakeField<std::uint16_t>("u16");
  auto i32 = model->MakeField<std::int32_t>("i32"); auto u32 = model->MakeField<std::uint32_t>("u32");
  auto i64 = model->MakeField<std::int64_t>("i64"); auto u64 = model->MakeField<std::uint64_t>("u64");
  auto b = model->MakeField<bool>("b");
  auto half = std::make_unique<ROOT::RField<float>>("h"); half->SetHalfPrecision();
  model->AddField(std::move(half));
  auto fixed = model->MakeField<std::array<float, 3>>("fixed"); auto vf = model->MakeField<std::vector<float>>("vf");
  auto va = model->MakeField<std::vector<std::array<std::int32_t, 2>>>("va");
  auto jets = model->MakeField<std::vector<Jet>>("jets"); auto pair = model->MakeField<Point>("pair");
  auto h = model->GetDefaultEntry().GetPtr<float>("h");
  ROOT::RNTupleWriteOptions options;
  options.SetCompression(compression);
  options.SetMaxUnzippedPageSize(1024); options.SetInitialUnzippedPageSize(256);
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "n", path, options);
  TRandom3 random(2);
  for (int row = 0; row < rows; ++row) {
    *f = int(random.Gaus(0, 100)); *d = random.Gaus(); *i8 = random.Integer(200); *u8 = random.Integer(250);
    *i16 = int(random.Gaus(0, 999));
    *u16 = random.Integer(9999); *i32 = int(random.Gaus(0, 1e6)); *u32 = random.Integer(4000000000u); *i64 = -row * 1000000000ll;
    *u64 = 1ull << (row % 64); *b = row % 3 == 0; *h = row / 8.; pair->x = row; pair->y = -row;
    for (int k = 0; k < 3; ++k) (*fixed)[k] = row + k;
    const int n = row > 1000 && row < 1700 ? 0 : random.Integer(6);
    vf->clear(); va->clear(); jets->clear();
    for (int k = 0; k < n; ++k) { vf->push_back(k + row); va->push_back({row, k}); }
    for (int k = 0; k < n / 2; ++k) jets->push_back({float(random.Gaus()), k - 2});
    writer->Fill();
    if (row % 600 == 599) writer->CommitCluster();
  }
}

void write_large(const char* path) {
  TFile file(path, "RECREATE", "", 101);
  TTree tree("t", "t");
  float large;
  tree.Branch("large", &large, "large/F", 20000000);
  tree.SetAutoFlush(0);
  for (int row = 0; row < 5200000; ++row) { large = row % 1000; tree.Fill(); }
  tree.Write();
}
"""


def main(folder: str, rows: int, files: list[str]) -> None:
    """Write all files."""
    if not ROOT.gInterpreter.Declare(DECLARATIONS):
        raise SystemExit("ROOT does not compile the writers")
    for file in files:
        name, compression = file.split("=")
        ROOT.write_tree(f"{folder}/tree_{name}.root", rows, int(compression), True)
        ROOT.write_ntuple(f"{folder}/ntuple_{name}.root", rows, int(compression))
    ROOT.write_tree(f"{folder}/embedded.root", 50, 101, False)
    ROOT.write_large(f"{folder}/large.root")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
